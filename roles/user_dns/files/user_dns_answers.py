"""Tells mail clients that configure themselves which server is their user's own. By HTTPS, for any user of our domains.

user_dns_answers.py --certificate FILE --key FILE ADDRESS...

Nobody is looked up: a name follows from the address alone, so nothing is to be learnt here about who exists.
"""

from __future__ import annotations

import argparse
import http.server
import json
import signal
import socket
import socketserver
import ssl
import threading
import urllib.parse
from typing import Any

from user_names import NamingError, asked_for, autoconfig, autodiscover

DESCRIPTION = "/etc/dovecluster/user_dns.json"
AUTOCONFIG = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
AUTODISCOVER = "/autodiscover/autodiscover.xml"
LARGEST_QUESTION = 65536


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    timeout = 10
    server_version = "user-dns"
    sys_version = ""
    description: dict[str, Any]

    def do_GET(self) -> None:
        """Answer Thunderbird and its like."""
        url = urllib.parse.urlsplit(self.path)
        users = urllib.parse.parse_qs(url.query).get("emailaddress", [])
        if url.path not in AUTOCONFIG or len(users) != 1:
            self.send_error(404)
            return
        self.answer(users[0], autoconfig)

    def do_POST(self) -> None:
        """Answer Outlook."""
        length = self.headers.get("Content-Length", "")
        if self.path.lower() != AUTODISCOVER:
            self.send_error(404)
        elif not length.isdecimal() or int(length) > LARGEST_QUESTION:
            self.send_error(413)
        else:
            try:
                user = asked_for(self.rfile.read(int(length)))
            except NamingError as error:
                self.send_error(400, explain=str(error))
                return
            self.answer(user, autodiscover)

    def answer(self, user: str, how: Any) -> None:
        """Send the answer for a user."""
        try:
            body = how(user, self.description).encode()
        except NamingError:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep no record of who asked."""


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Listens on an address. TLS begins in the connection's own thread, so that nobody can hold up the others."""

    daemon_threads = True

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        """Begin to listen."""
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.context = context
        super().__init__((address, 443), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a connection that begins TLS when it is first read."""
        connection, address = super().get_request()
        connection.settimeout(Handler.timeout)
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        """Pass over connections that break."""


def main() -> None:
    """Run the service until it is stopped; SIGHUP reads the certificate again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("addresses", nargs="+")
    options = parser.parse_args()
    with open(DESCRIPTION, encoding="utf-8") as file:
        Handler.description = json.load(file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    # Before threads are: they inherit it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP, signal.SIGTERM])
    for address in options.addresses:
        threading.Thread(target=Server(address, context).serve_forever, daemon=True).start()
    while signal.sigwait([signal.SIGHUP, signal.SIGTERM]) == signal.SIGHUP:
        context.load_cert_chain(options.certificate, options.key)


if __name__ == "__main__":
    main()
