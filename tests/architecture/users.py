"""What tests of an architecture ask of its users."""

from module_utils.doveadm_who import parse_who
from tests.ledger.checker import fetch_user
from tests.ledger.front import FAILURES


def can_log_in(front, user):
    """Whether mail can be read through every front address."""
    try:
        return all(fetch_user(front, user, start) is not None for start in range(len(front.addresses)))
    except FAILURES:
        return False


def backends_serving(lab, user):
    """The backends that have sessions of a user, by what they say themselves."""
    serving = set()
    for node in lab.group("mail_nodes"):
        for name in lab.running(node, timeout=60):  # a busy machine answers late, and silence would count as none
            shown = lab.ssh(node, f"doveadm -c /etc/dovecot/backends/{name}.conf -f json who -1")
            # Who passes a session on to another backend lists it as well, as its login process's.
            found = {row["user"] for row in parse_who(name, shown) if not row["service"].endswith("-login")}
            serving |= {name} if user in found else set()
    return serving
