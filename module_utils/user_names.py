"""Personal host names: each user's label in DNS, and what clients that configure themselves are told.

Stands alone: the service that answers such clients uses this file, too.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

LABEL = 63
# Most names: a dot becomes a hyphen, unless what follows would then read as an escape.
PLAIN = re.compile(r"[a-z0-9]+(?:\.(?!x[0-9a-f]{2})[a-z0-9]+)*")
UNUSABLE = re.compile(r"[\s:#]")
# Services by the names of RFC 6186 and RFC 5804. All but Sieve's have TLS from the start.
PORTS = {"imaps": 993, "pop3s": 995, "submissions": 465, "sieve": 4190}
MOZILLA = {"imaps": "imap", "pop3s": "pop3", "submissions": "smtp"}
OUTLOOK = {"imaps": "IMAP", "pop3s": "POP3", "submissions": "SMTP"}
OUTLOOK_REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
OUTLOOK_ANSWER = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
OUTLOOK_ENVELOPE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"


class NamingError(Exception):
    """A user who can have no personal name, or a question that has no answer."""


def split(user: str) -> tuple[str, str]:
    """Return a user's local part and domain, in lower case as Dovecot has them."""
    local, at, domain = user.lower().rpartition("@")
    if not (local and at and domain) or UNUSABLE.search(user):
        raise NamingError(f"user {user!r}: wanted LOCAL@DOMAIN, without spaces, colons or number signs")
    return local, domain


def label_of(local: str) -> str:
    """Return the DNS label of a local part, in lower case: one for each, and no two have the same.

    Letters and digits stay, and a dot between two of them becomes a hyphen. Any other byte becomes -xHH, in
    hexadecimal, as does a dot whose hyphen would read as such. A label can't begin with a hyphen, so what would gets x-
    before it. One that is too long ends in two hyphens and a hash, in place of the rest.
    """
    if PLAIN.fullmatch(local):
        label = local.replace(".", "-")
    else:
        label = "".join(_tokens(local))
        if label.startswith("-"):
            label = f"x-{label}"
    if len(label) > LABEL:
        digest = hashlib.sha256(local.encode()).hexdigest()
        label = f"{label[:30].rstrip('-')}--{digest[:31]}"
    return label


def _tokens(local: str) -> list[str]:
    """Return what each character becomes."""
    tokens = []
    for at, character in enumerate(local):
        around = local[at - 1 : at] + local[at + 1 : at + 2]
        if re.fullmatch("[a-z0-9]", character):
            tokens.append(character)
        elif (
            character == "."
            and re.fullmatch("[a-z0-9]{2}", around)
            and not re.match("x[0-9a-f]{2}", local[at + 1 : at + 4])
        ):
            tokens.append("-")
        else:
            tokens.append("".join(f"-x{byte:02x}" for byte in character.encode()))
    return tokens


def host_of(user: str, domains: Sequence[str], prefix: str) -> str:
    """Return a user's personal host name."""
    local, domain = split(user)
    if domain not in domains:
        raise NamingError(f"user {user!r}: {domain} is not one of {', '.join(domains)}")
    return f"{label_of(local)}.{prefix}.{domain}"


def servers_of(user: str, described: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Return host and port of each service that a user has."""
    host = host_of(user, described["domains"], described["prefix"])
    return {
        **{service: (host, PORTS[service]) for service in described["services"]},
        **{service: (name, PORTS[service]) for service, name in described["common"].items()},
    }


def autoconfig(user: str, described: Mapping[str, Any]) -> str:
    """Return what Thunderbird and its like are told (config-v1.1.xml)."""
    domain = split(user)[1]
    servers = []
    for service, (host, port) in servers_of(user, described).items():
        if service in MOZILLA:
            kind = "outgoingServer" if service == "submissions" else "incomingServer"
            servers.append(
                f'    <{kind} type="{MOZILLA[service]}">\n'
                f"      <hostname>{host}</hostname>\n"
                f"      <port>{port}</port>\n"
                "      <socketType>SSL</socketType>\n"
                "      <authentication>password-cleartext</authentication>\n"
                f"      <username>{escape(user.lower())}</username>\n"
                f"    </{kind}>\n"
            )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<clientConfig version="1.1">\n'
        f'  <emailProvider id="{domain}">\n'
        f"    <domain>{domain}</domain>\n"
        f"    <displayName>{domain}</displayName>\n"
        f"    <displayShortName>{domain}</displayShortName>\n"
        + "".join(servers)
        + "  </emailProvider>\n</clientConfig>\n"
    )


def autodiscover(user: str, described: Mapping[str, Any]) -> str:
    """Return what Outlook is told."""
    protocols = [
        "      <Protocol>\n"
        f"        <Type>{OUTLOOK[service]}</Type>\n"
        f"        <Server>{host}</Server>\n"
        f"        <Port>{port}</Port>\n"
        f"        <LoginName>{escape(user.lower())}</LoginName>\n"
        "        <SSL>on</SSL>\n"
        "        <SPA>off</SPA>\n"
        "        <AuthRequired>on</AuthRequired>\n"
        "      </Protocol>\n"
        for service, (host, port) in servers_of(user, described).items()
        if service in OUTLOOK
    ]
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Autodiscover xmlns="{OUTLOOK_ENVELOPE}">\n'
        f'  <Response xmlns="{OUTLOOK_ANSWER}">\n'
        "    <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n"
        + "".join(protocols)
        + "    </Account>\n  </Response>\n</Autodiscover>\n"
    )


def asked_for(body: bytes) -> str:
    """Return the user that Outlook's question names."""
    try:
        text = body.decode("utf-8-sig")
        if "<!" in text:  # entities that grow without end
            raise NamingError("the question declares a document type")
        found = ET.fromstring(text).findtext(f".//{{{OUTLOOK_REQUEST}}}EMailAddress")
    except (ET.ParseError, ValueError) as error:
        raise NamingError(f"the question is not XML in UTF-8: {error}") from None
    if not found:
        raise NamingError("the question names no EMailAddress")
    return found.strip()
