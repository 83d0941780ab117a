"""Users, as people write them, turned into the lines of Dovecot's passwd-file."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import sys
from pathlib import Path
from typing import Any

# On the controller Ansible offers the project's module_utils to modules alone.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from module_utils.password_hash import slapd_hash

SCHEME = re.compile(r"^\{([A-Za-z0-9_.-]+)\}.")
# Schemes that can be reversed, or that Dovecot would have to be told to accept.
WEAK = {"PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC", "PLAIN-MD4", "PLAIN-MD5", "DES-CRYPT", "CRYPT", "MD5", "OTP"}
WEAK |= {"LDAP-MD5", "SMD5", "SHA", "SHA1", "SSHA", "CRAM-MD5", "DIGEST-MD5", "HMAC-MD5", "MD5-CRYPT"}
NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
QUOTA = re.compile(r"^([1-9][0-9]*[KMGT]?|0)$")
QUOTA_FIELD = re.compile(r"^userdb_quota_(?:rule=\*:storage|storage_size)=(\S+)$")


def from_passwd_file(text: str) -> list[dict[str, Any]]:
    """Return the users of a passwd-file. Its uid, gid and home are dropped: the cluster's own apply."""
    users = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, password, *rest = line.split(":", 7)
        user: dict[str, Any] = {"name": name, "password": password}
        for field in (rest[5] if len(rest) > 5 else "").split():
            quota = QUOTA_FIELD.match(field)
            if quota:
                user["quota"] = quota.group(1)
            else:
                user.setdefault("fields", []).append(field)
        users.append(user)
    return users


def directory_users(users: Any, text: str = "", text_name: str = "") -> list[Any]:
    """Return the given users and those in a file's text: users.yml, or a passwd-file by any other name."""
    if not text.strip():
        return list(users)
    if not text_name.endswith((".yml", ".yaml")):
        return list(users) + from_passwd_file(text)
    import yaml

    data = yaml.safe_load(text)
    if isinstance(data, dict):
        data = data.get("directory_users", data.get("users"))
    if not isinstance(data, list):
        raise ValueError(f"{text_name}: expected a list of users (name, password, quota), or the same below 'users:'")
    return list(users) + data


def _password_problem(password: str) -> str | None:
    """Say what is wrong with a stored password, without quoting it."""
    scheme = SCHEME.match(password)
    if not scheme:
        return "its password is not hashed, or its hash has no {SCHEME}"
    if scheme.group(1).upper().split(".")[0] in WEAK:
        return f"its password is stored as {{{scheme.group(1)}}}, which is not safe"
    if re.search(r"[:\s]", password):
        return "its hash contains a colon or a space"
    return None


def directory_problems(users: list[Any], domains: list[str], reserved: list[str]) -> list[str]:
    """Say everything that is wrong with the users; no password is quoted.

    A user's domain must be one of domains, if there are any; reserved are the probes' accounts.
    """
    problems = []
    probes = {name.lower() for name in reserved}
    seen: dict[str, int] = {}
    known = {domain.lower() for domain in domains}
    for number, user in enumerate(users, 1):
        if not isinstance(user, dict) or not isinstance(user.get("name"), str):
            problems.append(f"user {number}: has no name; write {{name: ..., password: ..., quota: ...}}")
            continue
        name = user["name"]
        where = f"user {number} ({name})"
        if not NAME.match(name):
            problems.append(f"{where}: not a usable address; write local@domain with letters, digits and . _ -")
        elif "+" in name:
            plain = re.sub(r"\+[^@]*", "", name)
            problems.append(f"{where}: mail for it would go to {plain}, as a plus begins a detail; take another name")
        elif known and name.lower().split("@")[1] not in known:
            problems.append(f"{where}: domain is not one of the site's; they are {', '.join(sorted(known))}")
        if name.lower() in seen:
            problems.append(f"{where}: is user {seen[name.lower()]} already; names are compared in lower case")
        seen.setdefault(name.lower(), number)
        if name.lower() in probes:
            problems.append(f"{where}: is a probe's account, which is added by itself; take it out")
        problem = _password_problem(str(user.get("password", "")))
        if problem:
            problems.append(f"{where}: {problem}; make one with `doveadm pw -s ARGON2ID`")
        if user.get("quota") is not None and not QUOTA.match(str(user["quota"])):
            problems.append(f"{where}: quota {user['quota']!r}; write a number with K, M, G or T, such as 1G")
        unknown = sorted(set(user) - {"name", "password", "quota", "fields"})
        if unknown:
            problems.append(f"{where}: unknown {', '.join(unknown)}; known are name, password, quota")
    return problems


def openldap_problems(users: list[Any]) -> list[str]:
    """Say which users' passwords our own LDAP servers could not check; no password is quoted."""
    problems = []
    for number, user in enumerate(users, 1):
        try:
            slapd_hash(str(user["password"]))
        except (KeyError, TypeError):
            pass  # directory_problems says it
        except ValueError as error:
            problems.append(f"user {number} ({user.get('name')}): {error}")
    return problems


def directory_probe(name: str, password: str) -> dict[str, Any]:
    """Return a probe's account with its generated password hashed.

    The hash is the same each time, as the salt comes from name and password.

    A fast hash is enough for a long random password, and health checks log in every few seconds.
    """
    salt = hmac.new(password.encode(), name.encode(), hashlib.sha512).digest()[:16]
    digest = hashlib.sha512(password.encode() + salt).digest()
    return {"name": name, "password": "{SSHA512}" + base64.b64encode(digest + salt).decode()}


def directory_passwd_file(users: list[dict[str, Any]], quota_field: str) -> str:
    """Return the passwd-file: names in lower case and sorted, so that order in the source doesn't matter."""
    lines = []
    for user in sorted(users, key=lambda item: item["name"].lower()):
        fields = list(user.get("fields", []))
        if user.get("quota") is not None:
            fields.append(quota_field + str(user["quota"]))
        lines.append(f"{user['name'].lower()}:{user['password']}::::::{' '.join(fields)}")
    return "\n".join(lines) + "\n" if lines else ""


class FilterModule:
    """The filters of role directory."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        return {
            "directory_users": directory_users,
            "directory_problems": directory_problems,
            "openldap_problems": openldap_problems,
            "directory_probe": directory_probe,
            "directory_passwd_file": directory_passwd_file,
        }
