import subprocess
import sys

import pytest

from library import user_dns_zone
from module_utils import mail_route as mr
from module_utils import user_dns as ud

DESCRIBED = {
    "prefix": "imap",
    "domains": ["example.org", "example.net"],
    "ttl": 60,
    "servers": {"ns1.example.org": "192.0.2.53", "ns2.example.org": "192.0.2.54"},
    "backends": {
        "be1": {"host": "be1.lab.test", "address": "192.0.2.31", "shards": "0-127"},
        "be2": {"host": "be2.lab.test", "address": "2001:db8::32", "shards": "128-255"},
    },
    "services": ["imaps"],
    "common": {"submissions": "mail.example.org"},
}
SITE = ud.parse_site(DESCRIBED)
ZONE = SITE.zone("example.org")
USERS = ["ann@example.org", "Bob.B@example.org", "ann@example.net"]


def records(users=USERS, overrides=None, domain="example.org"):
    return dict(ud.user_records(SITE, domain, users, overrides or {}))


def test_a_users_name_is_an_alias_of_the_shard():
    shard = mr.shard_of("bob.b@example.org")
    assert records()["bob-b"] == (f"60 CNAME {shard:02x}.x--shard.imap.example.org.",)
    assert set(records(domain="example.net")) == {"ann"}


def test_a_zone_has_the_users_of_all_files(tmp_path):
    """Of the inventory, and of a list: its last line may have no end."""
    (tmp_path / "users").write_text("ann@example.org\n")
    (tmp_path / "users_file").write_text("bob.b@example.org\nann@example.net")
    files = [str(tmp_path / name) for name in ("users", "users_file")]
    params = {"domain": "example.org", "users": files, "overrides": str(tmp_path / "none")}
    wanted = user_dns_zone.wanted_records(SITE, params)
    assert wanted == ud.common_records(SITE, ZONE) | records()
    params["users"] = [files[0], files[0]]
    with pytest.raises(user_dns_zone.ZoneError, match="before already"):
        user_dns_zone.wanted_records(SITE, params)


def test_shards_lead_to_backends_and_only_these_have_addresses():
    common = ud.common_records(SITE, ZONE)
    assert common["7f.x--shard"] == ("60 CNAME be1.x--backend.imap.example.org.",)
    assert common["80.x--shard"] == ("60 CNAME be2.x--backend.imap.example.org.",)
    assert common["be1.x--backend"] == ("60 A 192.0.2.31",)
    assert common["be2.x--backend"] == ("60 AAAA 2001:db8::32",)
    assert common["@"] == ("3600 NS ns1.example.org.", "3600 NS ns2.example.org.")
    assert common["_submissions._tcp"] == ("3600 SRV 0 1 465 mail.example.org.",)


def test_a_shard_that_moves_and_a_backend_with_another_address_cost_a_record_each():
    backends = {
        "be1": {"host": "be1.lab.test", "address": "192.0.2.99", "shards": "0-126"},
        "be2": {"host": "be2.lab.test", "address": "2001:db8::32", "shards": "127-255"},
    }
    other = ud.parse_site(DESCRIBED | {"backends": backends})

    def whole(site):
        return ud.common_records(site, ZONE) | dict(ud.user_records(site, "example.org", USERS, {}))

    assert set(ud.differences(whole(other), whole(SITE).items())) == {"7f.x--shard", "be1.x--backend"}


@pytest.mark.parametrize("moved_to", ["be1", "be2"])
def test_a_moved_user_follows_the_override_even_while_held(moved_to):
    moved = mr.plan("bob.b@example.org", "present", SITE.backends[moved_to], {})
    wanted = (f"60 CNAME {moved_to}.x--backend.imap.example.org.",)
    assert records(overrides=moved)["bob-b"] == wanted
    assert records(overrides=mr.plan("bob.b@example.org", "held", None, moved))["bob-b"] == wanted


def test_a_held_user_of_a_shard_stays_there():
    assert records(overrides=mr.plan("bob.b@example.org", "held", None, {})) == records()


def test_an_override_to_no_backend_is_refused():
    with pytest.raises(ud.ZoneError, match=r"bob\.b@example\.org: the override says gone\.lab\.test"):
        records(overrides={"bob.b@example.org": {"host": "gone.lab.test", "hostip": "192.0.2.1"}})


def test_all_that_is_wrong_with_users_is_said_at_once():
    users = [*USERS, "ANN@example.org", "cat@example.com", "dan"]
    with pytest.raises(ud.ZoneError) as caught:
        ud.check_users(SITE, users)
    first, second, third = caught.value.problems
    assert "ANN@example.org: the name ann.imap.example.org. is that of a user before" in first
    assert "cat@example.com: example.com is not one of" in second
    assert "'dan': wanted LOCAL@DOMAIN" in third
    assert ud.check_users(SITE, USERS) == 3


def test_a_domain_without_users_is_refused():
    with pytest.raises(ud.ZoneError, match=r"example\.net has no users"):
        ud.check_users(SITE, ["ann@example.org"])


def test_many_problems_are_counted():
    with pytest.raises(ud.ZoneError, match="and 981 more"):
        ud.check_users(SITE, [f"user{number}" for number in range(999)])


def test_all_that_is_wrong_with_the_description_is_said_at_once():
    wrong = {
        "prefix": "im_ap",
        "domains": [],
        "ttl": 0,
        "servers": {"ns1.example.org": "192.0.2.300"},
        "backends": {"be_1": {"host": "h", "address": "x"}},
        "common": {"imap": "mail.example.org", "imaps": "Mail"},
    }
    with pytest.raises(ud.ZoneError) as caught:
        ud.parse_site(DESCRIBED | wrong)
    said = str(caught.value)
    for part in (
        *(
            "'im_ap'",
            "'Mail' is no",
            "ns1.example.org: '192.0.2.300' is not",
            "be_1: 'x' is not",
            "'be_1': not a label",
        ),
        *("imap: known services are", "user_dns_domains: none", "TTL 0", "belong to no backend"),
    ):
        assert part in said


def test_name_servers_may_not_be_in_a_zone_where_a_user_could_be():
    servers = {"ns1.imap.example.org": "192.0.2.53"}
    with pytest.raises(ud.ZoneError, match=r"ns1\.imap\.example\.org: .* in the zone imap\.example\.org"):
        ud.parse_site(DESCRIBED | {"servers": servers})


def test_zone_file_begins_with_what_a_server_needs():
    lines = list(ud.zone_file(SITE, ZONE, 7, records().items()))
    assert lines[0] == "$ORIGIN imap.example.org.\n"
    assert lines[1].split()[2:7] == ["SOA", "ns1.example.org.", "hostmaster.ns1.example.org.", "7", "3600"]
    assert len(lines) == 4


# kdig 3.2.6, with one record of each kind.
TRANSFER = """\
imap.example.org.   	3600	IN	SOA	ns1.example.org. hostmaster.ns1.example.org. 7 3600 60 1209600 60
imap.example.org.   	3600	IN	NS	ns2.example.org.
imap.example.org.   	3600	IN	NS	ns1.example.org.
ann.imap.example.org.	60	IN	CNAME	7f.x--shard.imap.example.org.
be1.x--backend.imap.example.org.	60	IN	A	192.0.2.31
_submissions._tcp.imap.example.org.	3600	IN	SRV	0 1 465 mail.example.org.
imap.example.org.   	3600	IN	SOA	ns1.example.org. hostmaster.ns1.example.org. 7 3600 60 1209600 60
"""


def test_a_transfer_is_read():
    assert dict(ud.answered(ZONE, TRANSFER.splitlines())) == {
        "@": ("3600 NS ns1.example.org.", "3600 NS ns2.example.org."),
        "ann": ("60 CNAME 7f.x--shard.imap.example.org.",),
        "be1.x--backend": ("60 A 192.0.2.31",),
        "_submissions._tcp": ("3600 SRV 0 1 465 mail.example.org.",),
    }


def test_differences_are_all_that_is_sent():
    found = {"same": ("60 A 1",), "old": ("60 A 2",), "other": ("60 CNAME a.",)}
    wanted = {"same": ("60 A 1",), "new": ("60 A 3",), "other": ("60 CNAME b.",)}
    changes = ud.differences(dict(wanted), found.items())
    assert changes == {
        "old": (("60 A 2",), ()),
        "other": (("60 CNAME a.",), ("60 CNAME b.",)),
        "new": ((), ("60 A 3",)),
    }
    assert "".join(ud.update(ZONE, "192.0.2.53", changes)) == (
        "server 192.0.2.53\nzone imap.example.org.\n"
        "del old.imap.example.org. A\n"
        "del other.imap.example.org. CNAME\nadd other.imap.example.org. 60 CNAME b.\n"
        "add new.imap.example.org. 60 A 3\nsend\n"
    )


def test_name_servers_are_added_before_others_go():
    changes = {"@": (("3600 NS a.", "3600 NS b."), ("3600 NS b.", "3600 NS c."))}
    assert "".join(ud.update(ZONE, "x", changes)).splitlines()[2:] == [
        "add imap.example.org. 3600 NS c.",
        "del imap.example.org. NS a.",
        "send",
    ]


def test_many_changes_are_sent_in_messages_that_fit():
    changes = {f"user{number}": ((), ("60 A 192.0.2.1",)) for number in range(ud.BATCH * 2 + 1)}
    sent = "".join(ud.update(ZONE, "x", changes))
    assert sent.count("send\n") == 3
    assert sent.endswith("send\n")


def test_names_stand_alone_on_a_host():
    """The service that answers mail clients has that file and none of Ansible's."""
    code = "import user_names, sys; sys.exit(any(name.startswith('ansible') for name in sys.modules))"
    subprocess.run([sys.executable, "-S", "-c", code], cwd="module_utils", check=True)
