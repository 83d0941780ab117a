#!/usr/bin/python3
"""Measure replication: seconds from an append's answer until the peer has the mail, and user syncs a second.

Reads the account's password from standard input. Leaves the account's mail in a folder of its own, then deletes it.
"""

import argparse
import imaplib
import statistics
import sys
import time

FOLDER = "replication-benchmark"


def login(address: str, port: int, user: str, password: str) -> imaplib.IMAP4:
    """Open a session, over TLS but on port 143 or alike."""
    import ssl

    context = ssl.create_default_context(cafile="/etc/ssl/dovecluster/ca.pem")
    context.check_hostname = False  # by address, signed by our CA
    session = imaplib.IMAP4_SSL(address, port, ssl_context=context)
    session.login(user, password)
    return session


def main() -> None:
    """Print median and 95th percentile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("near", help="address of a backend on one node")
    parser.add_argument("far", help="address of a backend of the same mail on the peer")
    parser.add_argument("user")
    parser.add_argument("--count", type=int, default=30)
    arguments = parser.parse_args()
    password = sys.stdin.readline().strip()
    near = login(arguments.near, 993, arguments.user, password)
    far = login(arguments.far, 993, arguments.user, password)
    near.create(FOLDER)
    delays = []
    for number in range(arguments.count):
        near.append(FOLDER, "", "", f"Subject: {number}\r\n\r\nbenchmark\r\n".encode())
        began = time.monotonic()
        while True:
            status, data = far.status(FOLDER, "(MESSAGES)")
            if status == "OK" and int(data[0].split()[-1].rstrip(b")")) > number:
                break
            if time.monotonic() - began > 60:
                sys.exit("not replicated within 60 s")
            time.sleep(0.002)
        delays.append(time.monotonic() - began)
        time.sleep(1.2)  # beyond the daemon's least interval between two syncs of a user
    near.delete(FOLDER)
    delays.sort()
    p95 = delays[min(len(delays) - 1, int(len(delays) * 0.95))]
    print(
        f"append to visible on the peer: median {statistics.median(delays):.3f} s, p95 {p95:.3f} s, {len(delays)} mails"
    )


if __name__ == "__main__":
    main()
