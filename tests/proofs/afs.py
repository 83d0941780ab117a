"""What proofs of AFS do to the cell and to the tokens of its clients."""

from __future__ import annotations

from .lab import Lab

KEYTAB = "/etc/afs-client.keytab"
EACH = """
set -e
for user in $(python3 -c 'import json; print(*json.load(open("/etc/afs-token.json"))["users"])'); do
  runuser -u $user -- sh -c 'keyctl {action} $(keyctl search @us rxrpc afs@{cell}) {more}'
done
"""


def file_servers(lab: Lab) -> list[str]:
    """Give the servers that have backends' volumes."""
    used = {values["file_server"] for values in lab.backends.values()}
    return [server for server in lab.group("afs_servers") if server in used]


def change_tokens(lab: Lab, node: str, action: str, more: str = "") -> None:
    """Do something to all tokens of a node, as keyctl calls it: revoke, or timeout."""
    lab.ssh(node, EACH.format(action=action, cell=lab.site["mail_afs"]["cell"], more=more))


def token_held(lab: Lab, node: str) -> bool:
    """Tell whether the node says to the cluster that it has its tokens."""
    asked = f"attrd_updater --name token_held --node {node} --query"
    return 'value="1"' in lab.ssh(node, asked, check=False)
