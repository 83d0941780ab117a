"""HAProxy lets clients in, in place of another front end."""

from .changed import change
from .proof import Proof


def run(proof: Proof) -> None:
    """Change the site's front end."""
    change(proof, "haproxy")
