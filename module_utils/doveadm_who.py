"""What `doveadm who` tells."""

from __future__ import annotations

import json
from typing import Any


def parse_who(backend: str, text: str) -> list[dict[str, Any]]:
    """Read the JSON of `doveadm who -1`; 2.3 forgets the bracket at its end in some cases."""
    text = text.strip() or "[]"
    rows = json.loads(text if text.endswith("]") else text + "]")
    return [
        {
            "backend": backend,
            "user": row["username"],
            "service": row["service"],
            "pid": int(row["pid"]),
            "client": row["ip"],
        }
        for row in rows
    ]
