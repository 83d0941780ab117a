import random
import re
import xml.etree.ElementTree as ET

import pytest

from module_utils import user_names as un

DESCRIBED = {
    "prefix": "imap",
    "domains": ["example.org", "example.net"],
    "services": ["imaps", "sieve"],
    "common": {"submissions": "mail.example.org"},
}


@pytest.mark.parametrize(
    ("local", "label"),
    [
        ("ann", "ann"),
        ("ann.smith", "ann-smith"),
        ("ann-smith", "ann-x2dsmith"),
        ("ann_smith", "ann-x5fsmith"),
        ("ann.smith+lists", "ann-smith-x2blists"),
        ("ann..smith", "ann-x2e-x2esmith"),
        ("ann.", "ann-x2e"),
        (".ann", "x--x2eann"),
        ("_ann", "x--x5fann"),
        ("x_ann", "x-x5fann"),
        ("ann.xavier", "ann-xavier"),
        ("ann.x2dsmith", "ann-x2ex2dsmith"),
        ("ann.x2", "ann-x2"),
        ("jürgen", "j-xc3-xbcrgen"),
        ("xn--ann", "xn-x2d-x2dann"),
        ("1", "1"),
        ("a" * 63, "a" * 63),
    ],
)
def test_label(local, label):
    assert un.label_of(local) == label


def read_back(label):
    """Return the local part of a label that is no hash: only an injective mapping can be read back."""
    label = label.removeprefix("x-") if label.startswith("x--") else label
    text, at = b"", 0
    while at < len(label):
        escaped = re.match("-x([0-9a-f]{2})", label[at:])
        text += bytes([int(escaped[1], 16)]) if escaped else label[at].replace("-", ".").encode()
        at += 4 if escaped else 1
    return text.decode()


def test_any_local_part_has_a_label_of_its_own():
    """Small alphabets meet all the rules; 63 bytes at the most, letters, digits and single hyphens inside."""
    chance = random.Random(1)
    for _ in range(50000):
        local = "".join(chance.choice("ax2e.-+_ü") for _ in range(chance.randint(1, 9)))
        label = un.label_of(local)
        assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label), local
        assert "--" in label[2:] or read_back(label) == local
        assert label[2:4] != "--", "reserved for names in other scripts"


def test_long_local_parts_have_a_hash():
    labels = {un.label_of("a.b" * 20 + ending) for ending in ("-long-1", "-long-2", ".long.1", "x" * 40)}
    assert len(labels) == 4
    for label in labels:
        assert len(label) <= 63
        assert re.fullmatch("[a-z0-9].{26,29}--[0-9a-f]{31}", label)


@pytest.mark.parametrize(
    "user", ["ann", "@example.org", "ann@", "", "a b@example.org", "a:b@example.org", "a#@example.org"]
)
def test_users_without_a_usable_name_are_refused(user):
    with pytest.raises(un.NamingError, match="wanted LOCAL@DOMAIN"):
        un.split(user)


def test_host_is_in_the_users_own_domain():
    assert un.host_of("Ann.B@Example.NET", DESCRIBED["domains"], "imap") == "ann-b.imap.example.net"
    with pytest.raises(un.NamingError, match=r"example\.com is not one of"):
        un.host_of("ann@example.com", DESCRIBED["domains"], "imap")


def test_autoconfig_names_the_users_own_server():
    root = ET.fromstring(un.autoconfig("Ann.B+<x>@example.org", DESCRIBED).encode())
    [incoming] = root.findall("emailProvider/incomingServer")
    assert incoming.attrib == {"type": "imap"}
    assert {child.tag: child.text for child in incoming} == {
        "hostname": "ann-b-x2b-x3cx-x3e.imap.example.org",
        "port": "993",
        "socketType": "SSL",
        "authentication": "password-cleartext",
        "username": "ann.b+<x>@example.org",
    }
    [outgoing] = root.findall("emailProvider/outgoingServer")
    assert (outgoing.get("type"), outgoing.findtext("hostname"), outgoing.findtext("port")) == (
        "smtp",
        "mail.example.org",
        "465",
    )


def test_autodiscover_names_the_users_own_server():
    root = ET.fromstring(un.autodiscover("Ann.B@example.org", DESCRIBED).encode())
    space = {"a": un.OUTLOOK_ANSWER}
    assert root.tag == f"{{{un.OUTLOOK_ENVELOPE}}}Autodiscover"
    assert root.findtext("a:Response/a:Account/a:Action", namespaces=space) == "settings"
    found = [
        tuple(protocol.findtext(f"a:{tag}", namespaces=space) for tag in ("Type", "Server", "Port", "LoginName", "SSL"))
        for protocol in root.iterfind("a:Response/a:Account/a:Protocol", space)
    ]
    assert found == [
        ("IMAP", "ann-b.imap.example.org", "993", "ann.b@example.org", "on"),
        ("SMTP", "mail.example.org", "465", "ann.b@example.org", "on"),
    ]


def question(address, before=""):
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{before}<Autodiscover xmlns="{un.OUTLOOK_REQUEST}"><Request>'
        f"<EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{un.OUTLOOK_ANSWER}"
        "</AcceptableResponseSchema></Request></Autodiscover>"
    ).encode()


def test_outlooks_question_is_read():
    assert un.asked_for(question(" ann.b@example.org\n")) == "ann.b@example.org"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not XML in UTF-8"),
        (b"\xff\xfe\x00", "not XML in UTF-8"),
        (question(""), "names no EMailAddress"),
        (question("&a;", '<!DOCTYPE x [<!ENTITY a "ann@example.org">]>'), "document type"),
        (question("&a;", '<!DOCTYPE x [<!ENTITY a "ann@example.org">]>').decode().encode("utf-16"), "not XML in UTF-8"),
    ],
)
def test_other_questions_are_refused(body, message):
    with pytest.raises(un.NamingError, match=message):
        un.asked_for(body)
