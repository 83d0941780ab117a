"""Messages of LDAP, as RFC 4511 has them, and what is said of answers."""

import ssl

import pytest

from module_utils import ldap

SERVER = ldap.Server("ldaps://ldap1.example.org", "ldap1.example.org", 636)


def test_a_bind_is_what_rfc_4511_says():
    assert ldap.bind(1, "cn=a", "pw").hex() == "3012" + "020101" + "600d" + "020103" + "0404636e3d61" + "80027077"


def test_a_search_is_what_rfc_4511_says():
    wanted = "302e020102" + "6329" + "0404" + "64633d61" + "0a0100" + "0a0100" + "020101" + "020105" + "010100"
    wanted += "870b" + b"objectClass".hex() + "3005" + "0403312e31"
    assert ldap.look(2, "dc=a", 5).hex() == wanted


def test_long_values_have_long_lengths():
    assert ldap.element(4, b"x" * 127)[:2].hex() == "047f"
    assert ldap.element(4, b"x" * 128)[:3].hex() == "048180"
    assert ldap.element(4, b"x" * 300)[:4].hex() == "0482012c"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 70000])
def test_what_is_packed_is_unpacked_once_it_is_whole(size):
    packed = ldap.element(4, b"x" * size)
    assert ldap.split(packed + b"rest") == (4, b"x" * size, b"rest")
    for end in (0, 1, 2, len(packed) - 1):
        if end < len(packed):
            assert ldap.split(packed[:end]) is None


def content(data):
    found = ldap.split(bytes.fromhex(data))
    assert found is not None and found[2] == b""
    return found[1]


def test_answers_are_read():
    assert ldap.answer(content("300c02010161070a010004000400")) == ldap.Answer(ldap.BIND_DONE, 0, "")
    assert ldap.answer(content("300c02010161070a013104000400")).code == ldap.INVALID_CREDENTIALS
    said = ldap.answer(content("300f02010261" + "0a" + "0a0135" + "0400" + "0403" + b"low".hex()))
    assert (said.code, said.text) == (53, "low")
    assert ldap.answer(content("300b02010264060402" + b"dc".hex() + "3000")).kind == 0x64


def test_what_is_no_ldap_is_an_error():
    with pytest.raises(ValueError, match="no LDAP"):
        ldap.answer(b"\x02")


def test_uris():
    found, problems = ldap.servers(["ldaps://a.example.org", "ldaps://[2001:db8::1]:1636/"])
    assert [(one.host, one.port) for one in found] == [("a.example.org", 636), ("2001:db8::1", 1636)]
    assert problems == []


@pytest.mark.parametrize("uri", ["ldap://a", "a", "ldaps://", "ldaps://a/dc=x", "ldaps://a:x", ""])
def test_wrong_uris_are_named(uri):
    found, problems = ldap.servers(["ldaps://good", uri])
    assert len(found) == 1
    assert len(problems) == 1 and problems[0].startswith(f"{uri} cannot be used")


def test_no_server_is_a_problem():
    assert ldap.servers([])[1] == ["there are no servers; wanted ldaps://NAME"]


def test_problems_say_what_is_wrong():
    bad_name = ssl.SSLCertVerificationError()
    bad_name.verify_message = "Hostname mismatch, certificate is not valid for 'ldap1.example.org'."
    bad_ca = ssl.SSLCertVerificationError()
    bad_ca.verify_message = "self-signed certificate"
    said = [ldap.connection_problem(SERVER, error, "/ca.pem") for error in (bad_name, bad_ca, ConnectionRefusedError())]
    assert "does not cover the name ldap1.example.org" in said[0]
    assert "not to be trusted (self-signed certificate; CAs are in /ca.pem)" in said[1]
    assert "cannot be reached" in said[2]


def test_a_wrong_password_is_told_from_other_refusals():
    assert ldap.bind_problem(SERVER, "cn=mail", ldap.Answer(ldap.BIND_DONE, 0, "")) is None
    wrong = ldap.bind_problem(SERVER, "cn=mail", ldap.Answer(ldap.BIND_DONE, 49, "")) or ""
    assert "name or the password is wrong" in wrong
    busy = ldap.bind_problem(SERVER, "cn=mail", ldap.Answer(ldap.BIND_DONE, 51, "busy")) or ""
    assert "busy (LDAP result 51)" in busy


@pytest.mark.parametrize(("code", "entries", "good"), [(0, 1, True), (0, 0, False), (32, 0, False), (50, 0, False)])
def test_a_base_must_be_there_and_be_seen(code, entries, good):
    said = ldap.base_problem(SERVER, "cn=mail", "dc=x", ldap.Answer(ldap.SEARCH_DONE, code, ""), entries)
    assert (said is None) == good
    assert good or "does not exist, or cn=mail may not read it" in str(said)
