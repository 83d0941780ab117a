"""Probe accounts, what nodes say, and a report that cannot pass without proof."""

from typing import Any

import pytest
import yaml
from ansible.module_utils.mail_clients import parse_quota, stored_by

from filter_plugins import prove
from library import mail_node_info, mail_probe
from module_utils.doveadm_who import parse_who
from module_utils.mail_probe_users import probe_users
from module_utils.mail_route import parse_shards, shard_of
from module_utils.prove_report import report

BACKENDS = {
    "be1": {"pod": "pod_a", "shards": "0-127"},
    "be2": {"pod": "pod_a", "shards": "128-200, 210"},
    "idle": {"pod": "pod_a"},
}


def test_each_backend_with_shards_has_a_probe_account() -> None:
    users = probe_users("probe@example.org", BACKENDS)
    assert list(users) == ["be1", "be2"]
    for backend, user in users.items():
        assert user.startswith("probe-") and user.endswith("@example.org")
        assert shard_of(user) in parse_shards(BACKENDS[backend]["shards"])


def test_a_single_shard_finds_an_account_too() -> None:
    user = probe_users("probe@example.org", {"be": {"shards": 7}})["be"]
    assert shard_of(user) == 7


def test_probe_user_without_domain() -> None:
    with pytest.raises(ValueError, match=r"probe@example\.org"):
        probe_users("probe", BACKENDS)


def test_filter_names_the_nodes() -> None:
    found = prove.prove_backends(BACKENDS, "probe@example.org", {"pod_a": ["mail1", "mail2"]})
    assert found["be1"]["nodes"] == ["mail1", "mail2"]
    with pytest.raises(prove.AnsibleFilterError, match="shards"):
        prove.prove_backends({"be": {"pod": "pod_a", "shards": "0-999"}}, "probe@example.org", {"pod_a": []})
    with pytest.raises(prove.AnsibleFilterError, match="pod_a"):
        prove.prove_backends(BACKENDS, "probe@example.org", {})


# as printed by 2.3.19 (without -1 it forgets the last bracket) and 2.4.1
WHO_2_3 = '[{"username":"u1@example.org","service":"imap","pid":"4749","ip":"10.88.0.1"}]'
WHO_2_4 = '[{"username":"u2@example.org","service":"imap","pid":"3741","ip":"10.88.0.1","dest_ip":""}]'


@pytest.mark.parametrize(
    ("text", "user", "pid"), [(WHO_2_3, "u1", 4749), (WHO_2_4, "u2", 3741), (WHO_2_3[:-1], "u1", 4749)]
)
def test_who(text: str, user: str, pid: int) -> None:
    row = {"backend": "be1", "user": f"{user}@example.org", "service": "imap", "pid": pid, "client": "10.88.0.1"}
    assert parse_who("be1", text) == [row]


def test_a_backend_whose_instance_does_not_answer_does_not_run() -> None:
    def run(argv: list[str]) -> tuple[int, str, str]:
        return (0, WHO_2_4, "") if "/etc/dovecot/backends/be2.conf" in argv else (75, "", "connect() failed")

    params: dict[str, Any] = {
        "backends": ["be1", "be2"],
        "users": ["u9@example.org"],
        "config_dir": "/etc/dovecot/backends",
    }
    assert mail_node_info.sessions(run, params) == (["be2"], [])
    running, found = mail_node_info.sessions(run, {**params, "users": []})
    assert (running, len(found)) == (["be2"], 1)


def test_a_replica_is_waited_for_and_no_longer() -> None:
    now = iter(range(100, 200))
    answers = iter([(0, "", ""), (0, "guid 1\n", ""), *[(0, "", "")] * 9])
    params = {
        "mails": [{"user": "u", "id": "<1>", "at": 99.0}, {"user": "u", "id": "<2>", "at": 99.0}],
        "wait": 5,
        "replica_config": "replica.conf",
    }
    lags = mail_node_info.replicated(lambda _: next(answers), params, lambda: float(next(now)))
    assert [entry["lag_ms"] for entry in lags] == [3000.0, None]


def test_quota_and_storing_host() -> None:
    lines = [b'"User quota" (STORAGE 109 1048576 MESSAGE 3 1000)']
    assert parse_quota(lines)["storage"] == {"used": 109, "limit": 1048576}
    assert parse_quota([b'"User quota" ()']) == {}
    headers = (
        "Return-Path: <>\r\nReceived: from front1\r\n\tby mail1.example.org with LMTP\r\nReceived: from a by b\r\n"
    )
    assert stored_by(headers) == "mail1.example.org"
    assert stored_by("Subject: none\r\n") == ""


def test_a_probe_with_a_name_of_its_own_goes_where_each_name_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look_up(server: str, name: str, timeout: float) -> str:
        asked.append((server, name, timeout))
        return "192.0.2.31"

    monkeypatch.setattr(mail_probe, "look_up", look_up)
    params: dict[str, Any] = {
        "user": "probe-1@example.org",
        "password": "x",
        "ports": {},
        "ca_file": None,
        "timeout": 7,
    }
    params |= {"hostname": "mail.example.org", "delivery_hostname": None}
    probe = mail_probe.Probe(params | {"name_prefix": "imap"})
    door = probe._door("192.0.2.53")
    assert (door.address, door.hostname) == ("192.0.2.31", "probe-x2d1.imap.example.org")
    assert asked == [("192.0.2.53", "probe-x2d1.imap.example.org", 7)]
    door = mail_probe.Probe(params | {"name_prefix": ""})._door("192.0.2.21")
    assert (door.address, door.hostname) == ("192.0.2.21", "mail.example.org")
    assert len(asked) == 1


STEPS = ["smtp", "imap"]
ADDRESSES = ["192.0.2.21", "192.0.2.22"]
WANTED = {"be1": {"user": "u", "nodes": ["mail1", "mail2"]}}


def probe() -> dict[str, Any]:
    return {
        "steps": [
            {"step": step, "address": address, "ok": True, "ms": 1.0, "detail": "fine"}
            for step in ("login", *STEPS, "hold")
            for address in ADDRESSES
        ]
    }


def nodes() -> dict[str, dict[str, Any]]:
    session = {"backend": "be1", "user": "u", "service": "imap", "pid": 1, "client": "192.0.2.14"}
    lag = {"user": "u", "id": "<1>", "lag_ms": 80.0}
    return {
        "mail1": {"running": ["be1"], "sessions": [session, session], "replicated": [lag]},
        "mail2": {"running": [], "sessions": [], "replicated": [lag]},
    }


def failed(probes: Any, answers: Any, **more: Any) -> list[str]:
    rows = report(WANTED, ADDRESSES, STEPS, probes, answers, replicated=True, **more)["rows"]
    return [row["what"] for row in rows if not row["ok"]]


def test_report_passes() -> None:
    assert failed({"be1": probe()}, nodes()) == []


def test_report_of_nothing_fails() -> None:
    assert report({}, [], [], {}, {})["failed"] == 3
    assert failed({}, {}) == [
        "node answers",
        "node answers",
        *["IMAP login", "IMAP login", "SMTP in", "SMTP in", "IMAP out", "IMAP out", "session kept", "session kept"],
        "runs on one node",
        "one backend rule",
        "replication lag <=",
        "replication lag <=",
    ]


def test_a_step_that_was_not_tried_at_every_address_fails() -> None:
    answer = probe()
    answer["steps"] = [step for step in answer["steps"] if (step["step"], step["address"]) != ("imap", ADDRESSES[1])]
    assert failed({"be1": answer}, nodes()) == ["IMAP out"]


def test_two_nodes_running_or_serving_fail() -> None:
    answers = nodes()
    answers["mail2"]["running"] = ["be1"]
    assert failed({"be1": probe()}, answers) == ["runs on one node", "one backend rule"]
    answers = nodes()
    answers["mail2"]["sessions"] = answers["mail1"]["sessions"][:1]
    assert failed({"be1": probe()}, answers) == ["one backend rule"]


def test_a_session_that_no_node_has_fails() -> None:
    answers = nodes()
    answers["mail1"]["sessions"].pop()
    assert failed({"be1": probe()}, answers) == ["one backend rule"]


def test_where_the_client_decides_all_its_sessions_are_on_one_node() -> None:
    """Of whichever users, and on whichever node: be2's user is served by be1."""
    wanted = WANTED | {"be2": {"user": "v", "nodes": ["mail1", "mail2"]}}
    probes = {"be1": probe(), "be2": probe()}

    def failed_for_clients(sessions: dict[str, list[tuple[str, str]]]) -> list[str]:
        answers = {
            node: {
                "running": [{"mail1": "be1", "mail2": "be2"}[node]],
                "sessions": [{"user": user, "backend": backend, "service": "imap"} for user, backend in there],
            }
            for node, there in sessions.items()
        }
        rows = report(wanted, ADDRESSES, STEPS, probes, answers, route="client")["rows"]
        assert "one backend rule" not in [row["what"] for row in rows]
        return [row["what"] for row in rows if not row["ok"]]

    every = [("u", "be1"), ("u", "be1"), ("v", "be1"), ("v", "be1")]
    assert failed_for_clients({"mail1": every, "mail2": []}) == []
    assert failed_for_clients({"mail1": every[:3], "mail2": []}) == ["one node for a client"]
    assert failed_for_clients({"mail1": every, "mail2": [("v", "be2")]}) == ["one node for a client"]
    assert failed_for_clients({"mail1": [], "mail2": []}) == ["one node for a client"]


def test_behind_directors_a_user_is_on_one_backend_whichever() -> None:
    def failed_for_ring(*sessions: tuple[str, str], route: str = "ring") -> list[str]:
        answers = {
            node: {
                "running": [name],
                "sessions": [
                    {"backend": backend, "user": "u", "service": "imap", "pid": 1, "client": "192.0.2.14"}
                    for place, backend in sessions
                    if place == node
                ],
            }
            for node, name in (("mail1", "be1"), ("mail2", "be2"))
        }
        rows = report(WANTED, ADDRESSES, STEPS, {"be1": probe()}, answers, route=route)["rows"]
        return [row["what"] for row in rows if not row["ok"]]

    here, there = ("mail1", "be1"), ("mail2", "be2")
    assert failed_for_ring(here, here) == []
    assert failed_for_ring(there, there) == []
    assert failed_for_ring(there, there, route="user") == ["one backend rule"]
    assert failed_for_ring(here, there) == ["one backend rule"]
    assert failed_for_ring(there) == ["one backend rule"]
    assert failed_for_ring() == ["one backend rule"]


def test_mail_that_never_reached_the_replica_fails() -> None:
    answers = nodes()
    answers["mail2"]["replicated"][0] = {"user": "u", "id": "<1>", "lag_ms": None}
    assert failed({"be1": probe()}, answers) == ["replication lag <="]


@pytest.mark.parametrize("module", [mail_probe, mail_node_info])
def test_documentation_is_complete(module: Any) -> None:
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert all("description" in option and "type" in option for option in options.values())
    assert yaml.safe_load(module.EXAMPLES) and yaml.safe_load(module.RETURN)
