"""What hosts, clocks and certificates are found to be, told as problems."""

import datetime
import ipaddress
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from module_utils import inventory_checks
from roles.preflight.action_plugins.preflight_host import clock_range


@pytest.fixture(scope="module")
def preflight() -> Iterator[ModuleType]:
    """The module, which finds its module_utils below ansible's name only."""
    sys.modules["ansible.module_utils.inventory_checks"] = inventory_checks
    from library import preflight_inventory

    yield preflight_inventory
    del sys.modules["ansible.module_utils.inventory_checks"]


def make(folder: Path, days: float, *names: str, uses: Sequence[x509.ObjectIdentifier] = ()) -> dict[str, Any]:
    """Write a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=99))
    builder = builder.not_valid_after(now + datetime.timedelta(days=days))
    carried = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    builder = builder.add_extension(x509.SubjectAlternativeName(carried), False)
    if uses:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "host.pem").write_bytes(pem)
    (folder / "host.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"where": "front1", "path": str(folder / "host.pem"), "key": str(folder / "host.key"), "names": []}


@pytest.mark.parametrize(
    ("days", "problem", "warning"),
    [(-1, "ended", None), (3, "ends", None), (30, None, "ends"), (365, None, None)],
)
def test_given_certificate_s_end(
    preflight: ModuleType, tmp_path: Path, days: int, problem: str | None, warning: str | None
) -> None:
    problems, warnings = preflight.own_problems(make(tmp_path, days), 6)
    assert [problem in item["found"] for item in problems] == ([True] if problem else [])
    assert [warning in item for item in warnings] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("days", "problem", "warning"),
    [(-1, "ended", None), (3, "ends", None), (30, None, "ends"), (3650, None, None)],
)
def test_ca_s_end(preflight: ModuleType, tmp_path: Path, days: int, problem: str | None, warning: str | None) -> None:
    problems, warnings = preflight.ca_problems(make(tmp_path, days)["path"], 6)
    assert [problem in item["found"] and "delete the file" in item["wanted"] for item in problems] == (
        [True] if problem else []
    )
    assert [warning in item for item in warnings] == ([True] if warning else [])


def test_ca_that_is_not_there_yet_or_no_certificate(preflight: ModuleType, tmp_path: Path) -> None:
    assert preflight.ca_problems(str(tmp_path / "ca.pem"), 6) == ([], [])
    (tmp_path / "ca.pem").write_text("hello")
    [problem] = preflight.ca_problems(str(tmp_path / "ca.pem"), 6)[0]
    assert "a readable PEM certificate" in problem["wanted"]


SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.mark.parametrize(
    ("uses", "client", "lacking"),
    [
        ((), True, ""),
        ((SERVER,), False, ""),
        ((SERVER, CLIENT), True, ""),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True, ""),
        ((SERVER,), True, "client"),
        ((CLIENT,), True, "server"),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), True, "server and client"),
    ],
)
def test_given_certificate_s_uses(
    preflight: ModuleType, tmp_path: Path, uses: tuple[x509.ObjectIdentifier, ...], client: bool, lacking: str
) -> None:
    item = make(tmp_path, 365, "mail.example.org", uses=uses) | {"client": client}
    problems, _ = preflight.own_problems(item, 6)
    assert [problem["found"].partition("made for use as ")[2] for problem in problems] == ([lacking] if lacking else [])


def test_given_certificate_s_names(preflight: ModuleType, tmp_path: Path) -> None:
    item = make(tmp_path, 365, "mail.example.org", "*.nodes.example.org")
    item["names"] = ["Mail.example.org", "front1.nodes.example.org", "a.b.nodes.example.org", "imap.example.org"]
    [problem] = preflight.own_problems(item, 6)[0]
    assert problem["found"].endswith("lacks a.b.nodes.example.org, imap.example.org")


def test_given_certificate_s_addresses(preflight: ModuleType, tmp_path: Path) -> None:
    """Behind directors, mail nodes' carry those of their backends."""
    item = make(tmp_path, 365, "be1.nodes.example.org", "192.0.2.31")
    item["names"] = ["be1.nodes.example.org", "192.0.2.31", "192.0.2.32"]
    [problem] = preflight.own_problems(item, 6)[0]
    assert problem["found"].endswith("lacks 192.0.2.32")


@pytest.mark.parametrize(
    ("carried", "lacking"),
    [
        ("*.imap.example.org", None),
        ("*.example.org", "*.imap.example.org"),
        ("imap.example.org", "*.imap.example.org"),
        ("ann.imap.example.org", "*.imap.example.org"),
    ],
)
def test_given_certificate_for_users_names(
    preflight: ModuleType, tmp_path: Path, carried: str, lacking: str | None
) -> None:
    item = make(tmp_path, 365, carried) | {"names": ["*.imap.example.org"]}
    problems, _ = preflight.own_problems(item, 6)
    assert [problem["found"].rpartition("lacks ")[2] for problem in problems] == ([lacking] if lacking else [])


def test_given_key(preflight: ModuleType, tmp_path: Path) -> None:
    item = make(tmp_path, 365)
    certificate = (tmp_path / "host.pem").read_bytes()
    make(tmp_path, 365)
    (tmp_path / "host.pem").write_bytes(certificate)
    [problem] = preflight.own_problems(item, 6)[0]
    assert (problem["variable"], problem["wanted"]) == ("pki_own_key_file", f"the key of {item['path']}")
    (tmp_path / "host.key").write_text("$ANSIBLE_VAULT;1.1;AES256\n00")
    assert preflight.own_problems(item, 6) == ([], [])
    (tmp_path / "host.key").unlink()
    [problem] = preflight.own_problems(item, 6)[0]
    assert "a readable PEM key" in problem["wanted"]
    (tmp_path / "host.pem").unlink()
    [problem] = preflight.own_problems(item, 6)[0]
    assert "a readable PEM certificate" in problem["wanted"]


def test_installed_certificate(preflight: ModuleType, tmp_path: Path) -> None:
    pem = Path(make(tmp_path, -1)["path"]).read_text()
    warnings = preflight.installed_warnings({"mail1": {"certificate": pem}, "mail2": {"certificate": ""}, "x": {}}, 6)
    assert [warning.split(":")[0] for warning in warnings] == ["mail1"]


@pytest.mark.parametrize(
    ("clocks", "told"),
    [
        ({"mail1": [-0.1, 0.1], "mail2": [0.2, 0.4]}, []),
        # So slow a connection that nothing is certain.
        ({"mail1": [-3, 3], "mail2": [-2, 4]}, []),
        ({"mail1": [-0.1, 0.1], "mail2": [4.9, 5.1]}, [("mail2", "5.0 s ahead of the controller")]),
        ({"mail1": [-7.5, -7.3]}, [("mail1", "7.4 s behind the controller")]),
        # Neither of them is far from the controller.
        ({"mail1": [-0.9, -0.8], "mail2": [0.7, 0.9]}, [("mail2", "1.5 s and more ahead of mail1")]),
    ],
)
def test_clocks(preflight: ModuleType, clocks: dict[str, list[float]], told: list[tuple[str, str]]) -> None:
    problems = preflight.clock_problems({host: {"clock": clock} for host, clock in clocks.items()}, 1)
    assert [(item["where"], item["found"]) for item in problems] == told


def test_clock_over_a_slow_connection() -> None:
    """The host is 5 s ahead, commands take 2 s to get there and 0.5 s back; one of the readings is quicker."""
    now = 1000.0
    ways = iter([(2.0, 0.5), (0.1, 0.2), (3.0, 0.0)])

    def read() -> float:
        nonlocal now
        there, back = next(ways)
        now += there
        host = now + 5
        now += back
        return host

    least, most = clock_range(lambda: now, read)
    assert least <= 5 <= most
    assert most - least <= 0.3


def test_a_stranger_on_a_service_address(preflight: ModuleType) -> None:
    hosts: dict[str, Any] = {"mail1": {}, "mail2": {}}
    observed = {
        "mail1": {"addresses": ["192.0.2.11", "192.0.2.31"], "answering": ["192.0.2.32"]},
        "mail2": {"addresses": ["192.0.2.12"], "answering": ["192.0.2.31", "192.0.2.32"]},
    }
    [problem] = preflight.address_problems(hosts, observed)
    assert problem["found"] == "192.0.2.32 answers (seen from mail1, mail2)"
    # A host that was not looked at may have it.
    assert preflight.address_problems(hosts | {"mail3": {}}, observed) == []
    assert preflight.address_problems(hosts, observed | {"mail2": {"problems": []}}) == []


def test_what_hosts_have_in_common_is_said_once(preflight: ModuleType) -> None:
    problems = [preflight.row(host, "DNS", "no answer", "one") for host in ("front1", "front2")]
    problems.append(preflight.row("front1", "hostname", "x", "front1"))
    assert [item["where"] for item in preflight.merged(problems)] == ["front1, front2", "front1"]
