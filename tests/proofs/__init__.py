"""Proofs: break a provisioned lab in one way while the ledger's writers work, and count what was lost."""
