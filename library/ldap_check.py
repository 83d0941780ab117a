#!/usr/bin/python
"""Find everything that would keep this host from looking users up in LDAP."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ldap_check
short_description: Find everything that would keep this host from looking users up in LDAP
description:
  - Connects to each server by LDAP over TLS, verifies its certificate and name, logs in, and looks at the base.
  - Changes nothing, and needs nothing but Python.
  - All problems are reported together. A server that cannot be reached while another can is a warning.
options:
  uris:
    description: The servers, as C(ldaps://NAME[:PORT]).
    type: list
    elements: str
    required: true
  bind_dn:
    description: Name of the account that reads.
    type: str
    required: true
  bind_password:
    description: Its password.
    type: str
    required: true
  base:
    description: The entry below which users are.
    type: str
    required: true
  ca_file:
    description: Certificates of the CAs to trust.
    type: path
    required: true
  timeout:
    description: Seconds that a server has to answer.
    type: int
    default: 5
attributes:
  check_mode:
    support: full
    description: The same.
  diff_mode:
    support: none
    description: Nothing changes.
author: Dovecluster
"""

EXAMPLES = r"""
- name: Look whether users can be looked up
  ldap_check:
    uris: [ldaps://ldap1.example.org, ldaps://ldap2.example.org]
    bind_dn: cn=mail,ou=services,dc=example,dc=org
    bind_password: "{{ directory_ldap_password }}"
    base: ou=users,dc=example,dc=org
    ca_file: /etc/ssl/dovecluster/ca.pem
"""

RETURN = r"""
down:
  description: Servers that are down while another answers, and why.
  returned: success
  type: list
  elements: str
"""

import contextlib
import socket
import ssl

from ansible.module_utils import ldap as logic
from ansible.module_utils.basic import AnsibleModule


class Connection:
    """A connection to a server."""

    def __init__(self, server: logic.Server, context: ssl.SSLContext, timeout: int) -> None:
        """Connect."""
        plain = socket.create_connection((server.host, server.port), timeout)
        try:
            self.socket = context.wrap_socket(plain, server_hostname=server.host)
        except BaseException:
            plain.close()
            raise
        self.data = b""

    def ask(self, question: bytes) -> tuple[logic.Answer, int]:
        """Send a question; return how it ended, and how many entries came before."""
        self.socket.sendall(question)
        entries = 0
        while True:
            found = logic.split(self.data)
            if found:
                self.data = found[2]
                answer = logic.answer(found[1])
                if answer.kind in (logic.BIND_DONE, logic.SEARCH_DONE):
                    return answer, entries
                entries += 1
            else:
                more = self.socket.recv(4096)
                if not more:
                    raise ConnectionError("the server hung up")
                self.data += more

    def close(self) -> None:
        """Say good-bye."""
        with contextlib.suppress(OSError):
            self.socket.sendall(logic.unbind(3))
        self.socket.close()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "uris": {"type": "list", "elements": "str", "required": True},
            "bind_dn": {"type": "str", "required": True},
            "bind_password": {"type": "str", "required": True, "no_log": True},
            "base": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    given = module.params
    servers, problems = logic.servers(given["uris"])
    if not given["bind_password"]:
        problems.append(f"the password of {given['bind_dn']} is empty, which LDAP takes for nobody's")
    try:
        context = ssl.create_default_context(cafile=given["ca_file"])
    except (OSError, ssl.SSLError) as error:
        problems.append(f"{given['ca_file']} cannot be used: {error}")
    unreachable: list[str] = []
    for server in [] if problems else servers:
        try:
            connection = Connection(server, context, given["timeout"])
        except ssl.SSLError as error:
            problems.append(logic.connection_problem(server, error, given["ca_file"]))
            continue
        except OSError as error:
            unreachable.append(logic.connection_problem(server, error, given["ca_file"]))
            continue
        try:
            bound, _ = connection.ask(logic.bind(1, given["bind_dn"], given["bind_password"]))
            problem = logic.bind_problem(server, given["bind_dn"], bound)
            if problem is None:
                seen, entries = connection.ask(logic.look(2, given["base"], given["timeout"]))
                problem = logic.base_problem(server, given["bind_dn"], given["base"], seen, entries)
            if problem:
                problems.append(problem)
        except (OSError, ValueError) as error:
            problems.append(f"{server.uri}: {error}")
        finally:
            connection.close()
    if problems or len(unreachable) == len(servers):
        problems = unreachable + problems
        module.fail_json(msg="users cannot be looked up: " + "; ".join(problems) + ". Nothing was changed")
    for warning in unreachable:
        module.warn(warning)
    module.exit_json(changed=False, down=unreachable)


if __name__ == "__main__":
    main()
