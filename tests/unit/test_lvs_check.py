"""What ldirectord is told of a backend, with servers that answer or do not."""

import base64
import json
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parents[2] / "roles/lvs/files/lvs-check").read_text()
PASSWORD = "not-a-secret-of-any-site"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of its own CA, for two names."""
    file = tmp_path_factory.mktemp("tls") / "host.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=be1.example.org"),
            *("-addext", "subjectAltName=DNS:be1.example.org,DNS:be2.example.org", "-keyout", file, "-out", file),
        ],
        check=True,
        capture_output=True,
    )
    return file


@pytest.fixture
def backend(certificate):
    """Return a function that makes a backend at an address of this host; it speaks IMAP and knows one password."""
    opened = []

    def serve(listener, password):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as session, session.makefile("rwb", 0) as stream:
                    stream.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
                    known = False
                    for line in stream:
                        tag, command, *rest = line.decode().split()
                        if command == "AUTHENTICATE":
                            known = base64.b64decode(rest[1]).decode().split("\0")[2] == password
                        stream.write(f"{tag} {'OK' if known else 'NO [AUTHENTICATIONFAILED]'} done\r\n".encode())
            except OSError:
                continue

    def make(address, port=0, password=PASSWORD):
        listener = socket.create_server((address, port))
        opened.append(listener)
        threading.Thread(target=serve, args=(listener, password), daemon=True).start()
        return listener.getsockname()[1]

    yield make
    for listener in opened:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.fixture
def check(certificate, tmp_path):
    """Return a function that runs the check: check(ADDRESS, PORT, name of be1, kind) -> (passed, what it says)."""

    def run(address, port, name="be1.example.org", kind="imap"):
        config = tmp_path / "check.json"
        names = {"127.0.0.2": name, "127.0.0.3": "be2.example.org"}
        values = {"user": "probe@example.org", "password": PASSWORD, "ca": str(certificate), "names": names}
        config.write_text(json.dumps(values | {"checks": {str(port): kind}}))
        source = SOURCE.replace("/etc/ha.d/lvs-check.json", str(config)).replace("SECONDS = 4;", "SECONDS = 2;")
        assert source != SOURCE
        # As ldirectord does: within a function of its own, with an alarm that it ends itself where the check passed.
        wrapped = tmp_path / "check.pl"
        wrapped.write_text(
            f"my $check = sub {{ @ARGV = @_; {source} }};\n"
            "eval { alarm 60; $check->(@ARGV); alarm 0 };\n"
            "print alarm 0; die $@ if $@;\n"
        )
        argv = ["perl", wrapped, "192.0.2.1", str(port), address, str(port)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        assert done.stdout == "0", f"an alarm would kill ldirectord {done.stdout} seconds later"
        return done.returncode == 0, done.stderr

    return run


def test_a_backend_that_lets_the_probe_in(backend, check):
    assert check("127.0.0.2", backend("127.0.0.2")) == (True, "")


def test_one_that_does_not_while_another_does(backend, check):
    port = backend("127.0.0.2", password="another")
    backend("127.0.0.3", port)
    passed, said = check("127.0.0.2", port)
    assert not passed and "another backend does better than 127.0.0.2" in said
    assert check("127.0.0.3", port)[0]


def test_a_name_that_is_not_on_the_certificate(backend, check):
    port = backend("127.0.0.2")
    backend("127.0.0.3", port)
    passed, said = check("127.0.0.2", port, "other.example.org")
    assert not passed and "verification" in said


def test_when_none_lets_the_probe_in_it_is_the_probe_that_is_wrong(backend, check):
    port = backend("127.0.0.2", password="another")
    assert check("127.0.0.2", port)[0]
    # But one that takes no connection gets none.
    passed, said = check("127.0.0.3", port)
    assert not passed and "127.0.0.3 takes no connections" in said


def test_one_that_says_nothing(backend, check):
    with socket.create_server(("127.0.0.2", 0)) as silent:
        port = silent.getsockname()[1]
        assert check("127.0.0.2", port)[0]
        backend("127.0.0.3", port)
        assert not check("127.0.0.2", port)[0]


def test_what_is_said_has_no_password(backend, check):
    port = backend("127.0.0.2", password="another")
    said = check("127.0.0.2", port)[1]
    secret = base64.b64encode(f"\0probe@example.org\0{PASSWORD}".encode()).decode()
    assert "imap on 127.0.0.2" in said and "AUTHENTICATIONFAILED" in said
    assert PASSWORD not in said and secret not in said
