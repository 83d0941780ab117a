"""Users as written by people, and the passwd-file made of them."""

import pytest

from filter_plugins import directory

GOOD = {"name": "Ann@Example.org", "password": "{SSHA512}abc=", "quota": "1G"}


def test_lines_for_both_releases() -> None:
    users = [GOOD, {"name": "al@example.org", "password": "{ARGON2ID}$argon2id$v=19$x"}]
    assert directory.directory_passwd_file(users, "userdb_quota_rule=*:storage=").splitlines() == [
        "al@example.org:{ARGON2ID}$argon2id$v=19$x::::::",
        "ann@example.org:{SSHA512}abc=::::::userdb_quota_rule=*:storage=1G",
    ]
    assert directory.directory_passwd_file([GOOD], "userdb_quota_storage_size=").endswith(
        "userdb_quota_storage_size=1G\n"
    )


def test_existing_passwd_file_of_either_release() -> None:
    text = (
        "# old\nann@example.org:{SSHA512}abc=:1000:1000::/h/ann::userdb_quota_rule=*:storage=2G allow_nets=10.0.0.0/8\n"
        "bob@example.org:{SSHA512}x=::::::userdb_quota_storage_size=3G\ncy@example.org:{SSHA512}y=\n"
    )
    assert directory.directory_users([], text, "users") == [
        {"name": "ann@example.org", "password": "{SSHA512}abc=", "quota": "2G", "fields": ["allow_nets=10.0.0.0/8"]},
        {"name": "bob@example.org", "password": "{SSHA512}x=", "quota": "3G"},
        {"name": "cy@example.org", "password": "{SSHA512}y="},
    ]


@pytest.mark.parametrize("text", ["- {name: a@b.org, password: x}", "users: [{name: a@b.org, password: x}]"])
def test_users_yml(text: str) -> None:
    assert directory.directory_users([GOOD], text, "users.yml") == [GOOD, {"name": "a@b.org", "password": "x"}]


def test_users_yml_that_is_no_list() -> None:
    with pytest.raises(ValueError, match="expected a list of users"):
        directory.directory_users([], "a: b", "users.yml")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "open sesame"}, "not hashed"),
        ({"password": "$6$x$y"}, "not hashed"),
        ({"password": ""}, "not hashed"),
        ({"password": "{PLAIN}opensesame"}, "{PLAIN}, which is not safe"),
        ({"password": "{plain.b64}b3Blbg=="}, "which is not safe"),
        ({"password": "{MD5-CRYPT}$1$x$y"}, "which is not safe"),
        ({"password": "{SSHA512}a:b"}, "contains a colon"),
        ({"name": "ann"}, "not a usable address"),
        ({"name": "../ann@example.org"}, "not a usable address"),
        ({"name": "ann:x@example.org"}, "not a usable address"),
        ({"name": "a/b@example.org"}, "not a usable address"),
        ({"name": "ann+lists@example.org"}, "mail for it would go to ann@example.org"),
        ({"name": "ann@other.org"}, "domain is not one of the site's; they are example.org"),
        ({"name": "probe@example.org"}, "a probe's account"),
        ({"quota": "lots"}, "quota 'lots'"),
        ({"quota": "1.5G"}, "quota '1.5G'"),
        ({"home": "/x"}, "unknown home"),
    ],
)
def test_each_problem_is_said(change: dict, text: str) -> None:
    problems = directory.directory_problems([{**GOOD, **change}], ["example.org"], ["probe@example.org"])
    assert len(problems) == 1 and text in problems[0]
    assert "sesame" not in problems[0]


def test_all_problems_at_once() -> None:
    users = [GOOD, {**GOOD, "name": "ann@EXAMPLE.org"}, {"password": "x"}, {"name": "x", "password": "y"}, "z"]
    problems = directory.directory_problems(users, [], [])
    assert [problem.split(":")[0] for problem in problems] == [
        "user 2 (ann@EXAMPLE.org)",
        "user 3",
        "user 4 (x)",
        "user 4 (x)",
        "user 5",
    ]


def test_good_users_pass() -> None:
    assert directory.directory_problems([GOOD], ["EXAMPLE.org"], ["probe@example.org"]) == []


def test_hashes_that_our_ldap_servers_cannot_check_are_said_and_not_shown() -> None:
    known = {"name": "al@example.org", "password": "{ARGON2ID}$argon2id$v=19$x"}
    problems = directory.openldap_problems([known, GOOD, {"name": "no@password"}, "no user"])
    assert len(problems) == 1 and problems[0].startswith("user 2 (Ann@Example.org): ")
    assert "{SSHA512}" in problems[0] and "abc=" not in problems[0]


def test_hash_is_stable_and_salted_by_name() -> None:
    assert directory.directory_probe("a", "pw") == directory.directory_probe("a", "pw")
    assert directory.directory_probe("a", "pw") != directory.directory_probe("b", "pw")
