#!/usr/bin/python
"""Bring a user's mail as a whole from one backend to another."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: user_home
short_description: Bring a user's mail as a whole from one backend to another
description:
  - For stores where each backend has mail of its own. The user must be held on all front ends, without a session.
  - Mails keep UIDs, flags, dates and folders; Sieve scripts and subscriptions come along. Both backends must have the
    same mailbox format.
  - A backend that the mail has left keeps a file in its place, so that whatever still comes there fails for the moment.
  - Each state may be asked for again after a run that was cut short; at no time is there less than one whole copy.
options:
  backend:
    description: Name of the backend, whose configuration is in C(/etc/dovecot/backends). It must run on this node.
    type: str
    required: true
  root:
    description: Where its file system is mounted.
    type: path
    required: true
  user:
    description: The user, as user@domain.
    type: str
    required: true
  state:
    description:
      - V(leaving) puts the mail aside and writes it into the file O(parcel), encrypted.
      - V(here) takes the mail out of O(parcel), compares it with O(mails) and puts it in its place.
      - V(back) puts back what was leaving.
      - V(gone) removes what was leaving. Ask for it only when another backend has the mail.
    type: str
    choices: [leaving, here, back, gone]
    required: true
  to:
    description: With O(state=leaving), the backend that it goes to.
    type: str
  parcel:
    description: The file in which the mail travels.
    type: path
  key:
    description: What O(parcel) is encrypted by.
    type: str
  mails:
    description: With O(state=here), the mails that must be in it, as O(state=leaving) returned them.
    type: list
    elements: dict
  wait:
    description: Seconds to wait until no process has a file of the user open.
    type: float
    default: 30
requirements: [dovecot, openssl]
attributes:
  check_mode:
    support: full
    description: Only says whether it would do something; returns no mails.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Send Anna's mail away
  user_home:
    backend: be1
    root: /srv/mail/be1
    user: anna@example.org
    state: leaving
    to: be2
    parcel: /var/lib/dovecluster/anna@example.org.mail
    key: "{{ key }}"
  register: sent
"""

RETURN = r"""
mails:
  description: The mails in O(parcel), with O(state=leaving).
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible.module_utils.backend_store import LEAVING, StoreError
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mail_difference import Mail
from ansible.module_utils.user_home import ARRIVING, UNCHANGED, UserHome


def leaving(home: UserHome, given: dict[str, Any]) -> list[Mail]:
    """Put it aside, unless it is, and pack it."""
    if home.place() == "here":
        home.leave(given["to"], given["wait"])
    mails = home.mails(LEAVING)
    home.store.pack(home.leaving, given["parcel"], given["key"])
    return mails


def here(home: UserHome, given: dict[str, Any]) -> None:
    """Unpack it aside, and put it in its place when it is whole."""
    home.make_parents(home.arriving)
    home.store.unpack(given["parcel"], home.arriving, given["key"])
    arrived, wanted = (
        {tuple(sorted(mail.items())) for mail in mails} for mails in (home.mails(ARRIVING), given["mails"])
    )
    if arrived != wanted:
        raise StoreError(
            f"{home.store.backend}: of {len(wanted)} mails of {home.user} {len(wanted - arrived)} did not arrive as"
            f" they were, and {len(arrived - wanted)} came that were not sent; nothing was put in place"
        )
    home.arrive()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "backend": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["leaving", "here", "back", "gone"], "required": True},
            "to": {"type": "str"},
            "parcel": {"type": "path"},
            "key": {"type": "str", "no_log": True},
            "mails": {"type": "list", "elements": "dict"},
            "wait": {"type": "float", "default": 30},
        },
        required_if=[("state", "leaving", ["to", "parcel", "key"]), ("state", "here", ["parcel", "key", "mails"])],
        supports_check_mode=True,
    )
    given = module.params
    mails: list[Mail] = []
    try:
        home = UserHome(given["backend"], given["root"], given["user"])
        place = home.check(given["state"])
        changed = (given["state"], place) not in UNCHANGED
        if changed and not module.check_mode:
            if given["state"] == "leaving":
                mails = leaving(home, given)
            elif given["state"] == "here":
                here(home, given)
            elif given["state"] == "back":
                home.come_back()
            else:
                home.forget()
    except (StoreError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, mails=mails)


if __name__ == "__main__":
    main()
