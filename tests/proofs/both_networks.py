"""A node's cables to the cluster and storage networks are pulled, its clients' network stays."""

from __future__ import annotations

from . import cluster_network
from .proof import Proof


def run(proof: Proof) -> None:
    """Cut it off; it is fenced before its peer takes over."""
    cluster_network.run(proof, ("cluster", "storage"))
