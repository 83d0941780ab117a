#!/usr/bin/python
"""Deliver a mail through the front door and fetch it again, and time each step."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: mail_probe
short_description: Deliver a mail through the front door, fetch it again, and time each step
description:
  - Does for one account, at each address of the front door, what its users do. It logs in by IMAP, delivers a mail
    by SMTP, finds that mail by IMAP and by POP3, uploads a Sieve script and looks at the quota.
  - Every connection is inside TLS, and the certificate must carry O(hostname). SMTP and ManageSieve use STARTTLS.
  - Its mails and its script are removed again, also those that an earlier probe had to leave. Nothing else is touched,
    so the module never reports a change.
  - Which node served a session cannot be seen from outside, as a proxy passes nothing of it on. Keep the sessions open
    with O(hold_file) and ask the nodes with M(mail_node_info). Which host stored the mail is in its newest Received
    line, which LMTP writes on every release; it is returned as RV(steps[].stored_by).
options:
  user:
    description: The account.
    type: str
    required: true
  password:
    description: Its password.
    type: str
    required: true
  addresses:
    description: >-
      Addresses of the front door, or with O(name_prefix) of name servers. Each is tried, not only the first that
      answers.
    type: list
    elements: str
    required: true
  delivery_addresses:
    description: Addresses that take mail, when they are others than O(addresses).
    type: list
    elements: str
  hostname:
    description: The name that the certificate must carry; with O(name_prefix), where mail is delivered alone.
    type: str
    required: true
  name_prefix:
    description:
      - The account has a host name of its own, USER.PREFIX.DOMAIN. It is asked for at each of O(addresses), and the
        session is with the host that the answer says, whose certificate must carry it.
      - Name servers that the host uses otherwise are not asked.
    type: str
    default: ""
  delivery_hostname:
    description: The same as O(hostname) for O(delivery_addresses), when it is another.
    type: str
  ca_file:
    description: CA to verify certificates with. The system's when empty.
    type: path
  steps:
    description:
      - What to try at each address. V(lmtp) delivers as an MTA does, past the queue; V(submission) sends as a user.
    type: list
    elements: str
    choices: [smtp, lmtp, submission, imap, pop3, quota, sieve]
    default: [smtp, imap, pop3, quota, sieve]
  ports:
    description: Ports that differ from 25 (smtp), 24 (lmtp), 465 (submission), 993 (imap), 995 (pop3), 4190 (sieve).
    type: dict
    default: {}
  timeout:
    description: Seconds to wait for any answer.
    type: float
    default: 10
  wait:
    description: Seconds to wait for a delivered mail to appear.
    type: float
    default: 30
  hold_file:
    description:
      - When given, the IMAP sessions stay open after the last step. This file is made when they are open,
        and they are held until it is removed. It holds the Message-IDs that were delivered, and when, as JSON.
    type: path
  hold:
    description: Seconds after which held sessions end in any case.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    description: Logs in and looks at the quota; delivers and uploads nothing.
  diff_mode:
    support: none
author: Dovecluster
"""

EXAMPLES = r"""
- name: Send and read a mail through both addresses of the front door
  mail_probe:
    user: probe-1@example.org
    password: "{{ mail_probe_password }}"
    addresses: [192.0.2.21, 192.0.2.22]
    hostname: mail.example.org
    ca_file: pki/ca.pem
  delegate_to: localhost

- name: Read a mail where each name server says
  mail_probe:
    user: probe-1@example.org
    password: "{{ mail_probe_password }}"
    addresses: [192.0.2.53, 192.0.2.54]
    name_prefix: imap
    delivery_addresses: [192.0.2.21]
    hostname: mail.example.org

- name: Ask one backend, past the front door
  mail_probe:
    user: probe-1@example.org
    password: "{{ mail_probe_password }}"
    addresses: [192.0.2.31]
    hostname: be1.example.org
    steps: [lmtp, imap]
    ca_file: /etc/ssl/dovecluster/ca.pem
"""

RETURN = r"""
steps:
  description: One entry for each step at each address, in order.
  returned: always
  type: list
  elements: dict
  contains:
    step: {description: The step., type: str, returned: always}
    address: {description: Where., type: str, returned: always}
    ok: {description: Whether it worked., type: bool, returned: always}
    ms: {description: Milliseconds it took., type: float, returned: always}
    detail: {description: 'What was seen, or what went wrong.', type: str, returned: always}
    stored_by: {description: Host that stored the mail., type: str, returned: for imap after a delivery}
  sample:
    - {step: smtp, address: 192.0.2.21, ok: true, ms: 31.2, detail: accepted}
    - step: imap
      address: 192.0.2.21
      ok: true
      ms: 60.0
      detail: stored by mail1.example.org
      stored_by: mail1.example.org
quota:
  description: Quota seen last, storage in KiB.
  returned: always
  type: dict
  sample: {storage: {used: 4, limit: 1048576}}
stored_by:
  description: Hosts that stored the mails, without repetition. One backend has one.
  returned: always
  type: list
  elements: str
"""

import imaplib
import json
import os
import poplib
import smtplib
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.dns_client import look_up
from ansible.module_utils.mail_clients import (
    Door,
    Imap,
    Lmtp,
    Pop3,
    Sieve,
    SieveError,
    Smtp,
    Submission,
    parse_quota,
    stored_by,
    tls_context,
)
from ansible.module_utils.user_names import NamingError, host_of, split

DOMAIN = "probe.dovecluster.invalid"
SCRIPT = 'require ["fileinto"];\n# Uploaded and removed by a probe; never active.\nkeep;\n'
DELIVERIES = {"smtp": Smtp, "lmtp": Lmtp, "submission": Submission}
PORTS = {"smtp": 25, "lmtp": 24, "submission": 465, "imap": 993, "pop3": 995, "sieve": 4190}
FAILURES = (OSError, imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPException, SieveError)


class ProbeError(Exception):
    """A step was answered, but not as it must be."""


class Probe:
    """One account, probed at every address of the front door."""

    def __init__(self, params: dict[str, Any], changes: bool = True) -> None:
        """Take the module's parameters; without changes nothing is delivered or uploaded."""
        self.params, self.changes = params, changes
        self.user, self.password = params["user"], params["password"]
        self.ports = {**PORTS, **{name: int(port) for name, port in params["ports"].items()}}
        self.tls = tls_context(params["ca_file"])
        prefix = params["name_prefix"]
        self.own_name = host_of(self.user, [split(self.user)[1]], prefix) if prefix else ""
        self.sessions: dict[str, Imap] = {}
        self.sent: dict[str, float] = {}  # Message-IDs that were accepted, and when
        self.steps: list[dict[str, Any]] = []
        self.quota: dict[str, Any] = {}

    def run(self) -> None:
        """Log in everywhere, deliver, fetch, upload, look."""
        wanted, addresses = self.params["steps"], self.params["addresses"]
        for address in addresses:
            self._step("login", address, partial(self._login, address))
        for delivery in DELIVERIES:
            if delivery in wanted and self.changes:
                for address in self.params["delivery_addresses"] or addresses:
                    self._step(delivery, address, partial(self._deliver, delivery, address))
        for name, body in (
            ("imap", self._imap),
            ("pop3", self._pop3),
            ("quota", self._quota),
            ("sieve", self._sieve),
        ):
            if name in wanted:
                for number, address in enumerate(addresses):
                    # Each mail is looked for at another address than it went in, where there is one.
                    sent = list(self.sent)
                    ident = sent[(number + 1) % len(sent)] if sent else None
                    self._step(name, address, partial(body, address, ident))

    def hold(self) -> None:
        """Keep the sessions until told otherwise."""
        path = self.params["hold_file"]
        if not path:
            return
        end = time.monotonic() + self.params["hold"]
        with open(f"{path}.new", "w", encoding="utf-8") as handle:
            json.dump([{"user": self.user, "id": ident, "at": at} for ident, at in self.sent.items()], handle)
        os.rename(f"{path}.new", path)  # whoever waits for it finds it complete
        while os.path.exists(path) and time.monotonic() < end:
            time.sleep(0.1)
        if os.path.exists(path):
            os.unlink(path)
        for address, session in self.sessions.items():
            self._step("hold", address, partial(self._kept, session))

    def clean(self) -> None:
        """Remove what was delivered, and what an earlier probe had to leave before today."""
        if not self.changes or not set(DELIVERIES) & set(self.params["steps"]):
            return
        today = datetime.now(tz=UTC).strftime("%d-%b-%Y")
        for address in self.params["addresses"]:
            if address not in self.sessions:
                continue
            try:
                session = self._session(address)
                _ok(session.select("INBOX"), "SELECT INBOX")
                uids = _search(session, "HEADER", "Message-ID", f"@{DOMAIN}", "BEFORE", today)
                for ident in self.sent:
                    uids += _search(session, "HEADER", "Message-ID", ident)
                if uids:
                    _ok(session.uid("STORE", ",".join(uids), "+FLAGS", "(\\Deleted)"), "STORE")
                    _ok(session.uid("EXPUNGE", ",".join(uids)), "EXPUNGE")
                return
            except (ProbeError, *FAILURES):
                continue  # the next session may do; if none does, the next probe removes them

    def close(self) -> None:
        """Log out."""
        for session in self.sessions.values():
            try:
                session.logout()
            except FAILURES:
                continue  # nothing is lost with a session that is gone already

    def results(self) -> dict[str, Any]:
        """Return what was found."""
        hosts = {step["stored_by"]: None for step in self.steps if step.get("stored_by")}
        return {"steps": self.steps, "quota": self.quota, "stored_by": list(hosts)}

    def _step(self, name: str, address: str, body: Callable[[], Any]) -> None:
        start = time.monotonic()
        try:
            detail, ok = body(), True
        except (ProbeError, *FAILURES) as error:
            detail, ok = f"{type(error).__name__}: {error}", False
        row = {"step": name, "address": address, "ok": ok}
        row["ms"] = round((time.monotonic() - start) * 1000, 1)
        if isinstance(detail, dict):
            row.update(detail)
        else:
            row["detail"] = str(detail)
        self.steps.append(row)

    def _kept(self, session: Imap) -> str:
        _ok(session.noop(), "NOOP")
        return "until the end"

    def _door(self, address: str) -> Door:
        timeout = self.params["timeout"]
        if self.own_name:
            address = look_up(address, self.own_name, timeout)
        return Door(address, self.own_name or self.params["hostname"], self.tls, timeout)

    def _session(self, address: str) -> Imap:
        if address not in self.sessions:
            raise ProbeError("no IMAP session, as the login failed")
        return self.sessions[address]

    def _login(self, address: str) -> str:
        door = self._door(address)
        session = Imap(door, self.ports["imap"])
        session.login(self.user, self.password)
        self.sessions[address] = session
        return f"{self.own_name} is {door.address}" if self.own_name else "IMAP"

    def _deliver(self, protocol: str, address: str) -> str:
        ident = f"<{uuid.uuid4().hex}@{DOMAIN}>"
        text = (
            f"From: <{self.user}>\r\nTo: <{self.user}>\r\nSubject: probe\r\nDate: {formatdate()}\r\n"
            f"Message-ID: {ident}\r\nAuto-Submitted: auto-generated\r\n\r\nA probe, removed when it is found.\r\n"
        )
        hostname = self.params["delivery_hostname"] or self.params["hostname"]
        door = Door(address, hostname, self.tls, self.params["timeout"])
        client = DELIVERIES[protocol](door, self.ports[protocol])
        sender = ""  # a bounce would have nowhere to go
        try:
            if protocol == "submission":
                client.login(self.user, self.password)
                sender = self.user
            client.sendmail(sender, [self.user], text)
            self.sent[ident] = time.time()
            client.quit()
        finally:
            client.close()
        return "accepted"

    def _imap(self, address: str, ident: str | None) -> str | dict[str, str]:
        session = self._session(address)
        if ident is None:
            self._nothing_delivered()
            _ok(session.select("INBOX"), "SELECT INBOX")
            return "INBOX opened"
        end = time.monotonic() + self.params["wait"]
        while True:
            _ok(session.select("INBOX"), "SELECT INBOX")
            uids = _search(session, "HEADER", "Message-ID", ident)
            if uids:
                break
            if time.monotonic() > end:
                raise ProbeError(f"the delivered mail did not appear within {self.params['wait']:g} s")
            time.sleep(0.1)
        if len(uids) > 1:
            raise ProbeError(f"the delivered mail is there {len(uids)} times")
        answer = _ok(session.uid("FETCH", uids[0], "(BODY.PEEK[HEADER])"), "FETCH")
        host = stored_by(answer[0][1].decode("utf-8", "replace"))
        return {"detail": f"stored by {host}", "stored_by": host}

    def _pop3(self, address: str, ident: str | None) -> str:
        client = Pop3(self._door(address), self.ports["pop3"])
        try:
            client.user(self.user)
            client.pass_(self.password)
            count = client.stat()[0]
            if ident is None:
                self._nothing_delivered()
                return f"{count} mails"
            for number in range(count, max(0, count - 50), -1):
                if any(ident.encode() in line for line in client.top(number, 0)[1]):
                    client.quit()
                    return "found"
            raise ProbeError(f"the delivered mail is not among the newest 50 of {count}")
        finally:
            client.close()

    def _quota(self, address: str, ident: str | None) -> str:
        session = self._session(address)
        kind, data = session.getquotaroot("INBOX")
        _ok((kind, data), "GETQUOTAROOT INBOX")
        quota = parse_quota(data[1])
        if "storage" not in quota:
            raise ProbeError(f"no storage limit is shown: {data}")
        self.quota = quota
        return "{used} of {limit} KiB".format(**quota["storage"])

    def _sieve(self, address: str, ident: str | None) -> str:
        name = f"probe-{uuid.uuid4().hex[:8]}"
        client = Sieve(self._door(address), self.ports["sieve"])
        try:
            client.login(self.user, self.password)
            if not self.changes:
                return f"{len(client.names())} scripts"
            client.put(name, SCRIPT)
            listed = name in client.names()
            client.delete(name)
            if not listed:
                raise ProbeError("the script was taken, but is not listed")
            return "uploaded and removed"
        finally:
            client.close()

    def _nothing_delivered(self) -> None:
        """Without a mail to find, finding none proves nothing."""
        if self.changes and set(DELIVERIES) & set(self.params["steps"]):
            raise ProbeError("no mail was accepted, so none can be found")


def _ok(answer: tuple[str, Any], what: str) -> Any:
    kind, data = answer
    if kind != "OK":
        raise ProbeError(f"{what}: {kind} {data}")
    return data


def _search(session: Imap, *criteria: str) -> list[str]:
    found = _ok(session.uid("SEARCH", *criteria), "SEARCH")
    return [uid.decode() for uid in (found[0] or b"").split()]


def main() -> None:
    """Run the module."""
    steps = [*DELIVERIES, "imap", "pop3", "quota", "sieve"]
    module = AnsibleModule(
        argument_spec={
            "user": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "delivery_addresses": {"type": "list", "elements": "str"},
            "hostname": {"type": "str", "required": True},
            "name_prefix": {"type": "str", "default": ""},
            "delivery_hostname": {"type": "str"},
            "ca_file": {"type": "path"},
            "steps": {
                "type": "list",
                "elements": "str",
                "choices": steps,
                "default": [step for step in steps if step not in ("lmtp", "submission")],
            },
            "ports": {"type": "dict", "default": {}},
            "timeout": {"type": "float", "default": 10},
            "wait": {"type": "float", "default": 30},
            "hold_file": {"type": "path"},
            "hold": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    if not module.params["addresses"]:
        module.fail_json(msg=f"{module.params['user']}: addresses is empty; name the front door's addresses")
    try:
        probe = Probe(module.params, changes=not module.check_mode)
    except NamingError as error:
        module.fail_json(msg=str(error))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{module.params['user']}: ca_file {module.params['ca_file']}: {error}")
    probe.run()
    probe.hold()
    probe.clean()
    probe.close()
    results = probe.results()
    failed = [step for step in results["steps"] if not step["ok"]]
    if failed:
        text = "; ".join(f"{step['step']} at {step['address']}: {step['detail']}" for step in failed)
        module.fail_json(msg=f"{module.params['user']}: {text}", **results)
    module.exit_json(changed=False, **results)


if __name__ == "__main__":
    main()
