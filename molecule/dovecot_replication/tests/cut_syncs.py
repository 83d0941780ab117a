#!/usr/bin/python3
"""Break off syncs of two replicas with new mail on both sides, at one byte after the other; say what became of mail.

Runs on a host with Dovecot and dovecot-rejoin, with two mailboxes in a folder of its own. Prints JSON: for each kind
of sync how many cuts there were, and what each cut that did harm lost, brought back or doubled.

- `two ways`: the sync is broken off, and done again, both ways.
- `rejoin`: as dovecot-rejoin does it. Its first or its second sync is broken off, in the latter case by a loss of
  power, so that it begins anew.
"""

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path("/var/tmp/cut-syncs")
RELAY = r"""
import os, select, subprocess, sys
# Passes on what two sides say until one has said so many bytes, and ends both, as a lost connection does.
way, left, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
to = {0: server.stdin.fileno(), server.stdout.fileno(): 1}
while to and left:
    for source in select.select(list(to), [], [])[0]:
        data = os.read(source, 65536)
        if (way == "to") == (source == 0):
            data, left = data[:left], left - len(data[:left])
        if not data:
            os.close(to.pop(source))
            continue
        try:
            os.write(to[source], data)
        except BrokenPipeError:
            left = 0
"""
CONFIG = {
    "2.3": "mail_location = mdbox:{home}/mdbox\n",
    "2.4": "dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.1\n"
    "mail_driver = mdbox\nmail_path = {home}/mdbox\nmail_home = {home}\n",
}


class PowerLoss(Exception):
    """The node is gone in the middle of something."""


class Side:
    """One replica."""

    def __init__(self, name, series):
        self.home = ROOT / name
        self.config = ROOT / f"{name}.conf"
        self.config.write_text(
            CONFIG[series].format(home=self.home)
            + f"log_path = /dev/stderr\nbase_dir = {ROOT}/run\nssl = no\nfirst_valid_uid = 1\n"
        )
        self.environment = {
            "HOME": str(self.home),
            "USER": name,
            "DOVECOT_HOSTDOMAIN": f"{name}.test",
            "PATH": os.environ["PATH"],
        }
        self.no_user = ["--no-userdb-lookup"] if series == "2.4" else []

    def argv(self, *command):
        words = 2 if command[0] == "mailbox" else 1
        return ["doveadm", "-c", str(self.config), *command[:words], *self.no_user, *command[words:]]

    def run(self, *command, text=None):
        argv = ["setpriv", "--reuid=vmail", "--regid=vmail", "--clear-groups", *self.argv(*command)]
        return subprocess.run(argv, input=text, capture_output=True, text=True, env=self.environment, timeout=60)

    def do(self, *command, text=None):
        done = self.run(*command, text=text)
        assert done.returncode == 0, done
        return done.stdout

    def save(self, *names):
        for name in names:
            self.do("save", "-m", "INBOX", text=f"Subject: {name}\n\n{'hello ' * 40}\n")

    def expunge(self, *names):
        for name in names:
            self.do("expunge", "mailbox", "INBOX", "header", "subject", name)

    def mails(self):
        """UIDs and names."""
        lines = self.do("fetch", "uid hdr.subject", "all").split("\n\n")[0].replace("\f", "").splitlines()
        words = [line.partition(": ")[2] for line in lines if line]
        return sorted(zip(words[::2], words[1::2], strict=True))


class Trial:
    """Two replicas, this node's and its peer's, which has served the user since."""

    def __init__(self, gap):
        series = ".".join(
            subprocess.run(["dovecot", "--version"], capture_output=True, text=True).stdout.split(".")[:2]
        )
        shutil.rmtree(ROOT, ignore_errors=True)
        ROOT.mkdir()
        shutil.chown(ROOT, "vmail", "vmail")
        self.here, self.peer = Side("here", series), Side("peer", series)
        self.relay = ROOT / "relay.py"
        self.relay.write_text(RELAY)
        self.here.save(*(f"both{number}" for number in range(5)))
        assert self.sync("sync") == 0
        self.here.save("here0", "here1", "here2")
        self.here.expunge("both2", "here1")
        if gap:
            self.peer.do("mailbox", "update", "--min-next-uid", str(gap), "INBOX")
        self.peer.save(*(f"peer{number}" for number in range(5)))
        self.peer.expunge("both1", "both4", "peer0")
        for side in (self.here, self.peer):
            subprocess.run(["cp", "-a", side.home, f"{side.home}.kept"], check=True)

    def again(self):
        """Begin with the replicas as they were."""
        for side in (self.here, self.peer):
            shutil.rmtree(side.home)
            subprocess.run(["cp", "-a", f"{side.home}.kept", side.home], check=True)
        self.wanted = {"both0", "both3", "here0", "here2", "peer1", "peer2", "peer3", "peer4"}

    def sync(self, *command, cut=None):
        """Sync, for so many bytes in one way, if wanted; return doveadm's exit code."""
        server = [
            "env",
            "-i",
            *(f"{name}={value}" for name, value in self.peer.environment.items()),
            *self.peer.argv("dsync-server"),
        ]
        relay = ["python3", str(self.relay), cut[0], str(cut[1])] if cut else []
        return self.here.run(*command, *relay, *server).returncode

    def serve(self, name, expunged):
        """The peer goes on serving the user meanwhile."""
        self.peer.save(name)
        self.peer.expunge(expunged)
        self.wanted = self.wanted - {expunged} | {name}

    def harm(self):
        """What both replicas lack, have too much, have twice or have differently."""
        here, peer = self.here.mails(), self.peer.mails()
        names = [name for _, name in here]
        found = {
            "lost": sorted(self.wanted - set(names)),
            "back": sorted(set(names) - self.wanted),
            "twice": sorted({name for name in names if names.count(name) > 1}),
            "different": sorted(set(here) ^ set(peer)),
        }
        return {kind: what for kind, what in found.items() if what}


def two_ways(trial, cut, _):
    """Break off a sync; return whether it was whole."""
    whole = trial.sync("sync", cut=cut) == 0
    trial.serve("meanwhile", "peer2")
    return whole


def by_rejoin(trial, cut, which):
    """Rejoin, with the first sync of one direction broken off; return whether it was whole."""
    loader = importlib.machinery.SourceFileLoader("dovecot_rejoin", "/usr/local/sbin/dovecot-rejoin")
    rejoin = importlib.util.module_from_spec(importlib.util.spec_from_loader("dovecot_rejoin", loader))
    loader.exec_module(rejoin)
    command = {"give": rejoin.GIVE, "take": rejoin.TAKE}[which]
    cuts = [cut]
    whole = []

    def dsync(direction, user, port):
        now = cuts.pop() if direction == command and cuts else None
        code = trial.sync(*direction, cut=now)
        if now:
            whole.append(code == 0)
            trial.serve("meanwhile", "peer2")
            if which == "take" and code:
                raise PowerLoss
        return "" if code == 0 else f"ended with {code}"

    rejoin.dsync = dsync
    rejoin.TAKING = ROOT / "taking"
    rejoin.TAKING.mkdir(exist_ok=True)
    rejoin.home = lambda user: "here"
    try:
        error = rejoin.Node(ROOT, [0]).rejoin("user")
    except PowerLoss:
        error = rejoin.Node(ROOT, [0]).rejoin("user")
    assert not error, error
    return whole[0]


def tried(broken_off, parts, step):
    """Return how many cuts there were, one after each so many bytes, and what those that did harm did."""
    told = {"cuts": 0, "harm": {}}
    for gap in (100_000, 0):
        trial = Trial(gap)
        for which in parts:
            for way in ("to", "from"):
                size, whole = 0, False
                while not whole and size < 8000:  # where UIDs are in the way, no take is whole the first time
                    size += step
                    trial.again()
                    whole = broken_off(trial, (way, size), which)
                    for turn in ("afterwards1", "afterwards2"):
                        trial.sync("sync")
                        trial.serve(turn, {"afterwards1": "both3", "afterwards2": "peer3"}[turn])
                    trial.sync("sync")
                    trial.sync("sync")
                    told["cuts"] += 1
                    if harm := trial.harm():
                        told["harm"][f"gap {gap}, {which}, {way} the peer after {size} bytes"] = harm
    return told


def main():
    """Try all cuts."""
    step = int(sys.argv[1])
    told = {"rejoin": tried(by_rejoin, ["give", "take"], step)}
    # What a cut of a two-way sync does depends on how far the other side is just then: look closer until one does harm.
    for closer in (1, 2, 4, 8):
        told["two ways"] = tried(two_ways, ["sync"], step // closer)
        if told["two ways"]["harm"]:
            break
    shutil.rmtree(ROOT)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
