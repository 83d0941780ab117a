"""Speaks mail protocols on a test host: run there by the tests, prints one JSON object.

mail.py NAME [ARGUMENT...]; NAME is a function below, without its underscore.
"""

import imaplib
import json
import poplib
import smtplib
import socket
import ssl
import sys

PASSWORD = "not-a-secret-of-any-site"
CONTEXT = ssl.create_default_context(cafile="/etc/ssl/dovecluster/ca.pem")


def _tls(address, port, name):
    return CONTEXT.wrap_socket(socket.create_connection((address, int(port)), 20), server_hostname=name)


class _Imap(imaplib.IMAP4):
    def __init__(self, address, name):
        self.name = name
        super().__init__(address, 993, timeout=20)

    def _create_socket(self, timeout):
        return _tls(self.host, 993, self.name)


class _Pop3(poplib.POP3):
    def __init__(self, address, name):
        self.name = name
        super().__init__(address, 995, timeout=20)

    def _create_socket(self, timeout):
        return _tls(self.host, 995, self.name)


class _Lmtp(smtplib.LMTP):
    def __init__(self, address, name):
        self.name = name
        super().__init__(address, 24, local_hostname="client.lab.test")

    def _get_socket(self, host, port, timeout):
        return _tls(host, port, self.name) if self.name else socket.create_connection((host, port), 20)


def imap(address, name, user, password=PASSWORD):
    """Log in and say what is there."""
    try:
        server = _Imap(address, name)
        server.login(user, password)
    except (OSError, imaplib.IMAP4.error) as error:
        return {"error": str(error)}
    folders = {}
    for line in server.lsub()[1]:
        folder = (line or b"").decode().rpartition(' "/" ')[2].strip('"')
        if folder:
            folders[folder] = int(server.select(f'"{folder}"', readonly=True)[1][0])
    folders["INBOX"] = int(server.select("INBOX", readonly=True)[1][0])
    subjects = []
    for number in server.search(None, "ALL")[1][0].split():
        data = server.fetch(number.decode(), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        subjects.append(data[0][1].decode().partition(":")[2].strip())
    quota = server.getquotaroot("INBOX")[1][1][0].decode()
    server.logout()
    return {"folders": folders, "subjects": subjects, "quota": quota}


def pop3(address, name, user):
    """Log in and count."""
    server = _Pop3(address, name)
    server.user(user)
    server.pass_(PASSWORD)
    count = server.stat()[0]
    server.quit()
    return {"count": count}


def lmtp(address, name, subject, size, *recipients):
    """Deliver a mail; name is empty for a listener without TLS."""
    body = f"From: s@lab.test\r\nSubject: {subject}\r\n\r\n" + "x" * 70 + "\r\n" * 2
    body += ("y" * 70 + "\r\n") * (int(size) // 72)
    try:
        with _Lmtp(address, name) as server:
            refused = server.sendmail("s@lab.test", recipients, body)
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
    except smtplib.SMTPDataError as error:
        return {"data": error.smtp_code}
    return {recipient: answer[0] for recipient, answer in refused.items()}


def smtp(address, name, sender, subject, *recipients):
    """Send a mail with STARTTLS and say what each recipient got."""
    with smtplib.SMTP(address, 25, local_hostname="client.lab.test", timeout=30) as server:
        server._host = name
        server.starttls(context=CONTEXT)
        server.ehlo()
        server.mail(sender)
        answers = {recipient: server.rcpt(recipient)[0] for recipient in recipients}
        sent = None
        if 250 in answers.values():
            sent = server.data(f"From: {sender}\r\nSubject: {subject}\r\n\r\nx\r\n")[0]
        return {"answers": answers, "sent": sent, "features": sorted(server.esmtp_features)}


def sieve(address, name, user, script, password=PASSWORD):
    """Put a script in place by ManageSieve."""
    import base64

    raw = socket.create_connection((address, 4190), 20)

    def answer(connection):
        text = b""
        while not any(line.startswith((b"OK", b"NO", b"BYE")) for line in text.splitlines()):
            text += connection.recv(4096)
        return text.decode()

    greeting = answer(raw)
    raw.sendall(b"STARTTLS\r\n")
    answer(raw)
    connection = CONTEXT.wrap_socket(raw, server_hostname=name)
    answer(connection)
    login = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    script = script.replace("\\n", "\r\n")
    said = []
    for command in (
        f'AUTHENTICATE "PLAIN" "{login}"',
        f'PUTSCRIPT "s" {{{len(script)}+}}\r\n{script}',
        'SETACTIVE "s"',
    ):
        connection.sendall(command.encode() + b"\r\n")
        said.append(answer(connection).splitlines()[-1][:2])
    connection.close()
    return {"said": said, "plain_before_tls": '"PLAIN"' in greeting}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
