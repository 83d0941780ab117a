"""Images of Debian 12 and 13, made by mmdebstrap; one with its own kernel (User-Mode Linux) for each too."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from .commands import LabError, environment, run, say
from .machine import PROXY

SUITES = {"12": "bookworm", "13": "trixie"}
KERNELS = ("shared", "own")
MIRROR = "http://deb.debian.org"
# What a fresh Debian server has, and what Ansible needs to reach it. Everything else is the roles' work.
PACKAGES = [
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "systemd",
    "systemd-sysv",
    "udev",
]
OWN_KERNEL_PACKAGES = ["e2fsprogs", "ethtool", "user-mode-linux"]
HERE = Path(__file__).parent
MAX_AGE_SECONDS = 7 * 24 * 3600


def image_name(release: str, kernel: str) -> str:
    """The image for a release and kind of host; its tag changes with what goes into it."""
    recipe = Path(__file__).read_bytes()
    if kernel == "own":
        recipe += b"".join(path.read_bytes() for path in sorted((HERE / "own-kernel").glob("lab-*")))
    return f"localhost/dovecluster-{release}-{kernel}:{hashlib.sha256(recipe).hexdigest()[:12]}"


def ensure_image(release: str, kernel: str) -> str:
    """Build the image unless a fresh enough one is there; give its name."""
    if release not in SUITES or kernel not in KERNELS:
        raise LabError(
            f"no image for release {release} with {kernel} kernel: releases {list(SUITES)}, kernels {KERNELS}"
        )
    name = image_name(release, kernel)
    created = run(["podman", "image", "inspect", "--format", "{{.Created.Unix}}", name], check=False).strip()
    if created and time.time() - int(created) < MAX_AGE_SECONDS:
        return name
    say(f"building the image of Debian {release} ({kernel} kernel)")
    started = time.monotonic()
    build(SUITES[release], kernel, name)
    say(f"image {name} built in {time.monotonic() - started:.0f} s")
    return name


def build(suite: str, kernel: str, name: str) -> None:
    """Make the root file system and import it."""
    packages = PACKAGES + (OWN_KERNEL_PACKAGES if kernel == "own" else [])
    sources = [
        f"deb {MIRROR}/debian {suite} main",
        f"deb {MIRROR}/debian {suite}-updates main",
        f"deb {MIRROR}/debian-security {suite}-security main",
    ]
    hooks = [
        # Host keys are each host's own; the machine id is made at first boot.
        'rm -f "$1"/etc/ssh/ssh_host_*; : > "$1/etc/machine-id"',
        # Throw-away hosts need no fsync from dpkg.
        'echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/lab"',
        "printf '%s\\n' 'Acquire::Retries \"3\";' > \"$1/etc/apt/apt.conf.d/90lab\"",
        'chroot "$1" apt-get update',
    ]
    if kernel == "own":
        hooks.append(f'install -m 0755 -t "$1/sbin" {HERE}/own-kernel/lab-*')
    with tempfile.TemporaryDirectory(prefix="dovecluster-") as scratch:
        tarball = Path(scratch) / "root.tar"
        argv = [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            "--skip=cleanup/apt/lists",
        ]
        argv += [f'--aptopt=Acquire::http::Proxy "{PROXY}";']
        argv += [f"--customize-hook={hook}" for hook in hooks]
        # mmdebstrap writes its apt options into the image; the host's proxy is set when a host is made.
        argv += ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
        argv += [suite, str(tarball), *sources]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment())
        if done.returncode:
            raise LabError(f"mmdebstrap failed for {suite}:\n{done.stderr[-3000:]}")
        command = "/sbin/init" if kernel == "shared" else "/sbin/lab-entry"
        run(["podman", "import", "--change", f'CMD ["{command}"]', str(tarball), name])
