"""A certificate of one's own, one that is about to end, and one that lasts, each in place of the one before."""

import subprocess

import pytest

HOSTS = ("deb12", "deb13")
SHOW = "openssl x509 -in /etc/ssl/dovecluster/host.pem -noout"


@pytest.fixture
def converge(play, another):
    """Return a function that runs the role and gives each host's serial number and the days left of its certificate."""

    def run(**variables):
        done = play("molecule/pki/converge.yml", **variables)
        assert done.returncode == 0, done.stdout
        serials, days = [], []
        for name in HOSTS:
            serials.append(another(name).check_output(f"{SHOW} -serial"))
            left = f'$(date +%s -d "$({SHOW} -enddate | cut -d= -f2)") - $(date +%s)'
            days.append(round(int(another(name).check_output(f"echo $(({left}))")) / 86400))
        return serials, days

    return run


def test_own_certificate_and_renewal(converge, another, tmp_path):
    certificate, key = str(tmp_path / "own.pem"), str(tmp_path / "own.key")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "99", "-subj", "/CN=x"]
    names = "subjectAltName=DNS:deb12,DNS:deb13,DNS:*.nodes.example.org"
    subprocess.run([*request, "-addext", names, "-out", certificate, "-keyout", key], check=True)
    serials, days = converge(pki_own_certificate_file=certificate, pki_own_key_file=key, pki_trusted_file=certificate)
    assert days == [99, 99] and len(set(serials)) == 1
    for name in HOSTS:
        trusted = "/etc/ssl/dovecluster/ca.pem"
        another(name).check_output(
            f"openssl verify -CAfile {trusted} -verify_hostname {name} /etc/ssl/dovecluster/host.pem"
        )

    ending, days = converge(pki_days=30)
    assert days == [30, 30]
    renewed, days = converge()
    assert days == [365, 365] and not set(renewed) & set(ending)
