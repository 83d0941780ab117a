"""What proofs of AFS do to the cell and to the tokens of its clients."""

from __future__ import annotations

from .lab import Lab

KEYTAB = "/etc/afs-client.keytab"
# The node's own program, with tickets that do not last as long as it asks for, and a key that is not where it looks.
SHORT = """
mv {keytab} {keytab}.away
systemd-run --quiet --wait --pipe --property=KeyringMode=inherit python3 - <<'END'
import importlib.machinery
import importlib.util
import json

loader = importlib.machinery.SourceFileLoader("afs_token", "/usr/local/sbin/afs-token")
program = importlib.util.module_from_spec(importlib.util.spec_from_loader("afs_token", loader))
loader.exec_module(program)
program.LONGEST = "{seconds}s"
settings = json.loads(program.SETTINGS.read_text()) | {{"keytab": "{keytab}.away"}}
program.renew(settings)
print(*program.check(settings, 1), sep="; ")
END
"""


def file_servers(lab: Lab) -> list[str]:
    """Give the servers that have backends' volumes."""
    used = {values["file_server"] for values in lab.backends.values()}
    return [server for server in lab.group("afs_servers") if server in used]


def shorten_tokens(lab: Lab, node: str, seconds: int) -> str:
    """Take away a node's key, and replace its tokens by such as end soon; return what the node says of them."""
    return lab.ssh(node, SHORT.format(keytab=KEYTAB, seconds=seconds), timeout=120).strip()


def give_key_back(lab: Lab, node: str) -> None:
    """Let a node get tokens again; one that has its key keeps it."""
    lab.ssh(node, f"test ! -e {KEYTAB}.away || mv {KEYTAB}.away {KEYTAB}")


def token_held(lab: Lab, node: str) -> bool:
    """Tell whether the node says to the cluster that it has its tokens."""
    asked = f"attrd_updater --name token_held --node {node} --query"
    return 'value="1"' in lab.ssh(node, asked, check=False)
