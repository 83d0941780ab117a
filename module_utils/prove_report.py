"""The report of the role prove: every row that must be there, and whether it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

STEP_NAMES = {
    "login": "IMAP login",
    "smtp": "SMTP in",
    "lmtp": "LMTP in",
    "submission": "submission",
    "imap": "IMAP out",
    "pop3": "POP3 out",
    "quota": "quota visible",
    "sieve": "ManageSieve upload",
    "hold": "session kept",
}


def report(
    backends: Mapping[str, Mapping[str, Any]],
    addresses: Sequence[str],
    steps: Sequence[str],
    probes: Mapping[str, Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    replicated: bool = False,
    delivery_addresses: Sequence[str] = (),
    route: str = "user",
) -> dict[str, Any]:
    """Build the rows from what is wanted, so that what was never tried is a row that fails.

    backends: {be1: {user, nodes}}; probes: result of mail_probe for each backend; nodes: result of
    mail_node_info for each node; route: what decides which node serves a session: the user,
    a ring of directors or the client.
    """
    rows: list[dict[str, Any]] = []
    delivery_addresses = delivery_addresses or addresses

    def row(backend: str, what: str, where: str, ok: bool, ms: float | None, detail: str) -> None:
        rows.append({"backend": backend, "what": what, "where": where, "ok": ok, "ms": ms, "detail": detail})

    for name, wanted in (("backends", backends), ("front door addresses", addresses), ("steps", steps)):
        if not wanted:
            row("-", "anything to prove", "-", False, None, f"no {name} were given")
    for node in sorted({node for values in backends.values() for node in values["nodes"]}):
        answer = nodes.get(node) or {}
        if "running" not in answer:
            row("-", "node answers", node, False, None, str(answer.get("msg", "it does not")).strip())
    for backend, values in backends.items():
        probe = probes.get(backend) or {}
        done = probe.get("steps") or []
        for step in ("login", *steps, "hold"):
            tried = [entry for entry in done if entry["step"] == step]
            for entry in tried:
                row(backend, STEP_NAMES[step], entry["address"], entry["ok"], entry["ms"], entry["detail"])
            through = delivery_addresses if step in ("smtp", "lmtp", "submission") else addresses
            for address in sorted(set(through) - {entry["address"] for entry in tried}):
                why = "not tried" if done else str(probe.get("msg", "the probe gave no answer"))
                row(backend, STEP_NAMES[step], address, False, None, why)
        running = [node for node, answer in nodes.items() if backend in answer.get("running", [])]
        row(backend, "runs on one node", "-", len(running) == 1, None, ", ".join(running) or "it runs nowhere")
        if route in ("user", "ring"):
            _one_backend(row, backend, values["user"], running, addresses, nodes, route == "ring")
        if replicated:
            _replication(row, backend, values, nodes)
    if route == "client":
        _one_node_for_a_client(row, [values["user"] for values in backends.values()], addresses, nodes)
    failed = sum(not entry["ok"] for entry in rows)
    return {"rows": rows, "failed": failed, "passed": len(rows) - failed, "text": table(rows)}


def _one_backend(
    row: Any,
    backend: str,
    user: str,
    running: Sequence[str],
    addresses: Sequence[str],
    nodes: Mapping[str, Mapping[str, Any]],
    anywhere: bool,
) -> None:
    """Check that the user's sessions through every front end are on the node that runs the backend, or on any one."""
    served = _serving(user, nodes)
    if anywhere:
        serving = {f"{node} by {name}": count for (node, name), count in served.items()}
    else:
        serving = {node: count for (node, name), count in served.items() if name == backend}
    ok = len(serving) == 1 and sum(serving.values()) >= len(addresses) > 0 and (anywhere or list(serving) == running)
    seen = ", ".join(f"{count} on {node}" for node, count in serving.items()) or "none on any node"
    row(backend, "one backend rule", "-", ok, None, f"sessions through {len(addresses)} front addresses: {seen}")


def _one_node_for_a_client(
    row: Any, users: Sequence[str], addresses: Sequence[str], nodes: Mapping[str, Mapping[str, Any]]
) -> None:
    """Check that this client's sessions through every front end are on one backend, whoever logged in.

    The one backend rule is not looked at, as such a front end does not keep it: a user's clients may be on two nodes.
    """
    counts = [_serving(user, nodes) for user in users]
    serving = {place: sum(count.get(place, 0) for count in counts) for count in counts for place in count}
    ok = len(serving) == 1 and all(sum(count.values()) >= len(addresses) > 0 for count in counts)
    seen = ", ".join(f"{count} by {name} on {node}" for (node, name), count in serving.items()) or "none on any node"
    row("-", "one node for a client", "-", ok, None, f"sessions through {len(addresses)} front addresses: {seen}")


def _serving(user: str, nodes: Mapping[str, Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """Count a user's IMAP sessions by node and backend."""
    return Counter(
        (node, session["backend"])
        for node, answer in nodes.items()
        for session in answer.get("sessions", [])
        if session["user"] == user and session["service"] == "imap"
    )


def _replication(row: Any, backend: str, values: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that the probe's mails reached the replica of every other node of the backend."""
    for node in values["nodes"]:
        answer = nodes.get(node, {})
        if backend in answer.get("running", []):
            continue
        lags = [entry["lag_ms"] for entry in answer.get("replicated", []) if entry["user"] == values["user"]]
        ok = bool(lags) and None not in lags
        worst = max((lag for lag in lags if lag is not None), default=None)
        missing = lags.count(None)
        detail = (
            "in the replica" if ok else f"{missing} of {len(lags)} mails never came" if lags else "no mail looked for"
        )
        row(backend, "replication lag <=", node, ok, worst, detail)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Set the rows out for people."""
    lines = [("", "BACKEND", "WHAT", "THROUGH", "MS", "SEEN")]
    for row in rows:
        ms = "" if row["ms"] is None else f"{row['ms']:.0f}"
        lines.append(("ok" if row["ok"] else "FAILED", row["backend"], row["what"], row["where"], ms, row["detail"]))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(
            [
                *(
                    text.rjust(width) if n == 4 else text.ljust(width)
                    for n, (text, width) in enumerate(zip(line, widths, strict=False))
                ),
                line[5],
            ]
        )
        for line in lines
    )
