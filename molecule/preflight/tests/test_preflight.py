"""site.yml against hosts with problems: all are told at once, each once, and nothing is changed anywhere."""

import datetime
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOSTS = ("mail1", "mail2", "quorum1", "front1", "front2")
# What a host writes by itself, or because somebody logs in. Ansible's own scratch files are removed by itself.
RESTLESS = r"^/(proc|sys|dev|run|tmp|var/tmp|var/log|var/lib/systemd|root/\.ansible)(/|$)|^/(root)$"


@pytest.fixture
def inventory(request):
    return Path(request.config.getoption("ansible_inventory"))


def expired(folder, *names):
    """Write a certificate that ended yesterday, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(
        now - datetime.timedelta(days=1)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    pem, form, none = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "old.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "old.key").write_bytes(key.private_bytes(pem, form, none))
    return str(folder / "old.pem"), str(folder / "old.key")


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def touched(host):
    """List what is newer than the stamp on a host."""
    found = host.check_output(
        "find / -xdev ! -type d -newer /run/stamp; find /etc /usr /var -xdev -type d -newer /run/stamp"
    )
    return [path for path in found.splitlines() if not re.match(RESTLESS, path)]


def test_every_problem_at_once_and_nothing_changed(another, play, inventory, tmp_path):
    site = yaml.safe_load((inventory / "group_vars" / "all" / "site.yml").read_text())
    subnet = site["mail_front_addresses"][0].rpartition(".")[0]
    certificate, key = expired(tmp_path, "mail.example.com", "*.nodes.example.com")
    broken = {
        # Its clock is 5 seconds ahead, as far as anyone can tell who asks for the time.
        "mail2": """cd /usr/local/bin; printf '#!/bin/sh\nexec /bin/date -d "+5 seconds" "$@"' > date; chmod +x date""",
        "front1": "echo 192.0.2.99 mail1.nodes.example.com >> /etc/hosts",
        "front2": "cp /etc/resolv.conf /root/resolv.conf; echo nameserver 127.0.0.1 > /etc/resolv.conf",
    }
    repair = {
        "mail2": "rm /usr/local/bin/date",
        "front1": "sed '/192.0.2.99/d' /etc/hosts > /root/hosts; cat /root/hosts > /etc/hosts",
        "front2": "cat /root/resolv.conf > /etc/resolv.conf",
    }
    try:
        for name, command in broken.items():
            another(name).check_output(command)
        for name in HOSTS:
            another(name).check_output("sleep 1.1; touch /run/stamp; sleep 0.1")
        before = contents(inventory)
        done = play(
            "playbooks/site.yml",
            mail_store="zfs",
            mail_front_addresses=[f"{subnet}.1", f"{subnet}.22"],  # the first one is the network's gateway
            corosync_authkey="",
            directory_users=[{"name": "ann@example.com", "password": "secret"}],
            directory_users_file="/nonexistent/users.yml",
            pki_own_certificate_file=certificate,
            pki_own_key_file=key,
            mail_ca_file=certificate,
        )
        after = {name: touched(another(name)) for name in HOSTS}
    finally:
        for name, command in repair.items():
            another(name).check_output(command)
    rows = {
        "mail_store": "site",
        "service address": "site",
        "corosync_authkey": "site",
        "directory_users": "site",
        "directory_users_file": "site",
        "pki_own_certificate_file": ", ".join(sorted(HOSTS)),
        "pki_ca_certificate_file": "site",
        "clock": "mail2",
        "/etc/hosts": "front1",
        "DNS": "front2",
    }
    for variable, where in rows.items():
        assert done.stdout.count(f'"{where}: {variable}: ') == 1, f"{variable}\n{done.stdout}"
    assert f"{len(rows)} problems, listed above. Nothing has been changed." in done.stdout
    assert re.search(r"clock: [45]\.\d s ahead of the controller", done.stdout)
    assert done.returncode != 0
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}
    assert after == {name: [] for name in HOSTS}
    assert contents(inventory) == before


def test_a_host_that_cannot_be_reached_is_told_with_the_rest(play, tmp_path):
    host = {"ansible_host": "127.0.0.1", "ansible_port": 1, "mail_client_address": "192.0.2.256"}
    (tmp_path / "down.yml").write_text(yaml.safe_dump({"mta": {"hosts": {"front3": host}}}))
    done = play("playbooks/site.yml", f"--inventory={tmp_path}/down.yml")
    assert done.returncode != 0
    for variable in ("ansible_host", "mail_client_address", "mail_cluster_address"):
        assert done.stdout.count(f'"front3: {variable}: ') == 1, done.stdout
    assert "3 problems, listed above. Nothing has been changed." in done.stdout


def test_secrets_in_a_vault(play, inventory, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(inventory, site)
    secrets = site / "group_vars" / "all" / "secrets.yml"
    values = yaml.safe_load(secrets.read_text()).values()
    password = tmp_path / "password"
    password.write_text("of the vault\n")
    subprocess.run(["ansible-vault", "encrypt", f"--vault-password-file={password}", secrets], check=True)
    encrypted = secrets.read_bytes()
    assert encrypted.startswith(b"$ANSIBLE_VAULT")

    without = play("playbooks/site.yml", "--tags=preflight", inventory=site)
    assert without.returncode != 0
    assert "Attempting to decrypt but no vault secrets found" in without.stdout
    assert "TASK" not in without.stdout

    given = f"--vault-password-file={password}"
    assert play("playbooks/secrets.yml", given, inventory=site).returncode == 0
    assert secrets.read_bytes() == encrypted
    passed = play("playbooks/site.yml", "--tags=preflight", "-vvv", given, inventory=site)
    assert passed.returncode == 0, passed.stdout
    for value in values:
        assert value not in passed.stdout
        assert value.splitlines()[-1] not in passed.stdout
