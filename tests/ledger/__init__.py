"""The ledger of acknowledged mail: what a cluster said it keeps, compared with what it kept."""
