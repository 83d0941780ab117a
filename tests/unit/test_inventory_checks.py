"""Every bad inventory is told what is wrong with it, and nothing else."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from module_utils.inventory_checks import check_site, lines, parse_shards
from module_utils.mail_route import ranges

CASES = yaml.safe_load((Path(__file__).parent / "inventories.yml").read_text())


def mutated(changes: dict[str, Any]) -> dict[str, Any]:
    inventory = copy.deepcopy(CASES["good"])
    for path, value in changes.items():
        *folders, name = path.split(".")
        target = inventory
        for folder in folders:
            target = target[folder]
        if value is None:
            target.pop(name, None)
        else:
            target[name] = copy.deepcopy(value)
    return inventory


def problems(inventory: dict[str, Any]) -> list[dict[str, str]]:
    return check_site(
        inventory["site"],
        inventory["hosts"],
        inventory["groups"],
        inventory.get("missing", []),
        inventory.get("releases"),
        inventory.get("names"),
    )


def test_good_site_passes() -> None:
    assert problems(mutated({})) == []


def test_table_is_long_enough() -> None:
    assert len(CASES["bad"]) >= 45


STORES = ("drbd", "drbd_gfs2", "nfs", "nfs_server", "nfs_pair", "san_gfs2", "san_gfs2_fc", "san_gfs2_ours", "haproxy")
SITES = ("ldap", "ldap_of_others", "dns", "webmail", "director", "external", "afs", *STORES)


@pytest.mark.parametrize("kind", SITES)
def test_good_site_of_another_kind_passes(kind: str) -> None:
    assert problems(mutated(CASES[kind])) == []


BAD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (good, case)
    for table, good in (("bad", {}), *((f"bad_{kind}", CASES[kind]) for kind in SITES))
    for case in CASES[table].values()
]
NAMES = [name for table in ("bad", *(f"bad_{kind}" for kind in SITES)) for name in CASES[table]]


@pytest.mark.parametrize(("good", "case"), BAD, ids=NAMES)
def test_bad_site(good: dict[str, Any], case: dict[str, Any]) -> None:
    found = problems(mutated(good | case["set"]))
    assert len(found) == len(case["says"]), "\n".join(lines(found))
    for where, variable, text in case["says"]:
        assert any(
            row["where"] == where and row["variable"] == variable and text in f"{row['found']} {row['wanted']}"
            for row in found
        ), f"{where} {variable} {text}: {found}"


@pytest.mark.parametrize("store", STORES)
def test_haproxy_is_for_stores_on_which_all_nodes_may_write(store: str) -> None:
    """Unless the operator names it."""
    haproxy = CASES[store] | {"site.mail_front_end": "haproxy"}
    found = [row["found"] for row in problems(mutated(haproxy))]
    name = haproxy["site.mail_store"]
    assert found == ([] if name.endswith("_gfs2") else [f"haproxy with the store {name}"])
    assert problems(mutated(haproxy | {"site.mail_front_end_allowed": "haproxy"})) == []


@pytest.mark.parametrize("store", STORES)
def test_directors_are_for_stores_on_which_a_user_may_change_nodes(store: str) -> None:
    """Unless the operator names them."""
    director = CASES[store] | {"site.mail_front_end": "director"}
    found = [row["found"] for row in problems(mutated(director))]
    name = director["site.mail_store"]
    assert found == ([] if name.endswith("_gfs2") else [f"director with the store {name}"])
    assert problems(mutated(director | {"site.mail_front_end_allowed": "director"})) == []


def test_users_of_ldap_have_names_if_a_file_lists_them(tmp_path: Path) -> None:
    file = tmp_path / "users"
    ldap = {
        "site.mail_directory": "ldap",
        "site.mail_ldap": {"uris": ["ldaps://dc1.example.org"], "base": "dc=example,dc=org", "account": "cn=mail"},
        "site.user_dns_users_file": str(file),
    }
    file.write_text("ann@example.org\nbob@example.org\n")
    assert problems(mutated(CASES["dns"] | ldap)) == []
    file.write_text("ann@example.org\nbob@example.net\n")
    assert [row["variable"] for row in problems(mutated(CASES["dns"] | ldap))] == ["users"]


@pytest.mark.parametrize("store", STORES)
def test_perdition_knows_users_and_is_for_every_store(store: str) -> None:
    """With routes in LDAP or in shards, and with several pods."""
    perdition = CASES[store] | {"site.mail_front_end": "perdition"}
    assert problems(mutated(perdition)) == []
    assert problems(mutated(perdition | CASES["ldap"])) == []


def test_seventeen_nodes() -> None:
    inventory = mutated({})
    for number in range(3, 18):
        inventory["hosts"][f"mail{number}"] = {
            "mail_node_id": number,
            "mail_client_address": f"192.0.2.{100 + number}",
            "mail_cluster_address": f"198.51.100.{20 + number}",
            "fencing_ipmi_address": f"198.51.100.{120 + number}",
            "fencing_ipmi_user": "admin",
        }
        inventory["groups"]["pod_a"].append(f"mail{number}")
    inventory["groups"]["mail_nodes"] = inventory["groups"]["pod_a"]
    assert [row["found"] for row in problems(inventory)] == ["17 nodes"]


def test_two_pods_may_number_their_nodes_alike() -> None:
    inventory = mutated(
        {"site.mail_backends.be2": {"pod": "pod_b", "address": "192.0.2.32", "node": "mail3", "shards": "128-255"}}
    )
    for number in (1, 2):
        inventory["hosts"][f"mail{number + 2}"] = {
            "mail_node_id": number,
            "mail_client_address": f"192.0.2.{100 + number}",
            "mail_cluster_address": f"198.51.100.{20 + number}",
            "fencing_ipmi_address": f"198.51.100.{120 + number}",
            "fencing_ipmi_user": "admin",
        }
    inventory["groups"] |= {"pod_b": ["mail3", "mail4"], "mail_nodes": ["mail1", "mail2", "mail3", "mail4"]}
    assert problems(inventory) == []


@pytest.mark.parametrize("name", ["Mail_1", "x" * 64, "mail.1"])
def test_node_name(name: str) -> None:
    inventory = mutated({})
    inventory["hosts"][name] = {"mail_client_address": "192.0.2.99", "mail_cluster_address": "198.51.100.99"}
    found = problems(inventory)
    assert [row["variable"] for row in found] == ["inventory name"]


def test_usual_names_in_etc_hosts_are_fine() -> None:
    """Debian's installer writes them, or an admin who knows the addresses."""
    names = {
        "mail1": {"localhost": ["127.0.0.1"], "mail1": ["127.0.1.1"], "mail1.nodes.example.org": ["192.0.2.11"]},
        "mail2": {"mail1": ["198.51.100.11"], "be1.nodes.example.org": ["192.0.2.31"], "other": ["192.0.2.99"]},
    }
    assert problems(mutated({}) | {"names": names}) == []


def test_an_empty_inventory_is_reported_not_crashed_on() -> None:
    assert len(check_site({}, {}, {})) > 8


def test_shards_and_ranges() -> None:
    assert parse_shards("0-2, 7") == {0, 1, 2, 7}
    assert ranges({0, 1, 2, 7}) == "0-2, 7"


def test_a_problem_names_host_variable_what_was_found_and_what_would_do() -> None:
    [line] = lines(problems(mutated({"hosts.mail2.mail_node_id": 0})))
    assert line == "mail2: mail_node_id: 0. Wanted: a number from 1 on, of its own in pod_a"
