"""Dovecot's proxy lets clients in, as the inventory said at first."""

from .changed import change
from .proof import Proof


def run(proof: Proof) -> None:
    """Change the site's front end."""
    change(proof, "proxy")
