-- Emits one event, mailbox_changed, for each committed transaction of a user; the stats process exports it.
-- Which mailbox or mail changed is not told: whoever syncs a user compares all of it.

function script_init()
  return 0
end

function dovecot_lua_notify_begin_txn(user)
  return {user = user.username, changed = false}
end

local function changed(context)
  context.changed = true
end

for _, name in ipairs({
  "mailbox_create", "mailbox_delete", "mailbox_rename", "mailbox_subscribe", "mailbox_unsubscribe",
  "message_new", "message_append", "message_read", "message_trash", "message_expunge",
  "flags_set", "flags_clear"
}) do
  _G["dovecot_lua_notify_event_" .. name] = changed
end

function dovecot_lua_notify_end_txn(context)
  if context.changed then
    local event = dovecot.event()
    event:set_name("mailbox_changed")
    event:add_str("user", context.user)
    event:log_debug("mailbox changed")
  end
end
