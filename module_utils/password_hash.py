"""Hashes of passwords, as Dovecot writes them and as slapd does."""

from __future__ import annotations

import re

SCHEME = re.compile(r"^\{([A-Za-z0-9-]+)\}(.+)$")
# Dovecot's names of schemes, and slapd's. What crypt(3) knows is told by the hash itself.
SCHEMES = {
    "ARGON2ID": "ARGON2",
    "ARGON2I": "ARGON2",
    "BLF-CRYPT": "CRYPT",
    "CRYPT": "CRYPT",
    "SHA256-CRYPT": "CRYPT",
    "SHA512-CRYPT": "CRYPT",
    "SSHA": "SSHA",
}


def slapd_hash(password: str) -> str:
    """Return a hash as slapd takes it; raises ValueError, without the hash, where slapd cannot check it."""
    found = SCHEME.match(password)
    scheme = SCHEMES.get(found[1].upper()) if found else None
    if not found or not scheme:
        shown = f"{{{found[1]}}}" if found else "no {SCHEME}"
        wanted = ", ".join(sorted(SCHEMES))
        raise ValueError(f"the hash of the password has {shown}; slapd can check {wanted}")
    return f"{{{scheme}}}{found[2]}"
