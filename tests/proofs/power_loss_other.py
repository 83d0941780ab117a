"""The node that runs the last backend loses power, in normal times the other one; later it comes back."""

from __future__ import annotations

from . import power_loss
from .proof import Proof


def run(proof: Proof) -> None:
    """Kill it; see the peer take over; let it come back."""
    power_loss.run(proof, -1)
