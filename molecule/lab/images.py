"""Images of Debian 12 and 13, made by mmdebstrap, for each kind of host."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from .commands import LabError, environment, run, say
from .machine import PROXY

SUITES = {"12": "bookworm", "13": "trixie"}
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
# What each kind of host has beside them.
KERNELS = {
    "shared": [],
    "own": ["e2fsprogs", "ethtool", "user-mode-linux"],
    "full": ["e2fsprogs", "linux-image-amd64", "qemu-system-x86"],
}
# A full machine's kernel comes with drivers for all there is; without these it is half as large.
NO_DRIVERS = [
    "gpu",
    "hid",
    "hwmon",
    "iio",
    "infiniband",
    "input",
    "media",
    "net/ethernet",
    "net/wireless",
    "staging",
    "usb",
]
# What its initrd needs to find the root file system.
INITRD_MODULES = ["crc32c_generic", "ext4", "virtio_blk", "virtio_pci"]
HERE = Path(__file__).parent
MAX_AGE_SECONDS = 7 * 24 * 3600


def image_name(release: str, kernel: str) -> str:
    """The image for a release and kind of host; its tag changes with what goes into it."""
    recipe = Path(__file__).read_bytes()
    recipe += b"".join(path.read_bytes() for path in programs(kernel))
    return f"localhost/dovecluster-{release}-{kernel}:{hashlib.sha256(recipe).hexdigest()[:12]}"


def programs(kernel: str) -> list[Path]:
    """What starts a kernel of the host's own, and what the guest starts with."""
    directories = () if kernel == "shared" else ("guest", f"{kernel}-kernel")
    return [path for directory in directories for path in sorted((HERE / directory).glob("lab-*"))]


def ensure_image(release: str, kernel: str) -> str:
    """Build the image unless a fresh enough one is there; give its name."""
    if release not in SUITES or kernel not in KERNELS:
        raise LabError(
            f"no image for release {release} with {kernel} kernel: releases {list(SUITES)}, kernels {list(KERNELS)}"
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
    packages = PACKAGES + KERNELS[kernel]
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
    if kernel != "shared":
        hooks.append(f'install -m 0755 -t "$1/sbin" {" ".join(map(str, programs(kernel)))}')
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
        if kernel == "full":
            argv += [f"--dpkgopt=path-exclude=*/lib/modules/*/kernel/drivers/{drivers}/*" for drivers in NO_DRIVERS]
            argv += ["--dpkgopt=path-exclude=*/lib/modules/*/kernel/sound/*"]
            argv += [f"--essential-hook={hook}" for hook in initrd_hooks()]
        # mmdebstrap writes its apt options into the image; the host's proxy is set when a host is made.
        argv += ['--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"']
        argv += [suite, str(tarball), *sources]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment())
        if done.returncode:
            raise LabError(f"mmdebstrap failed for {suite}:\n{done.stderr[-3000:]}")
        command = "/sbin/init" if kernel == "shared" else "/sbin/lab-entry"
        run(["podman", "import", "--change", f'CMD ["{command}"]', str(tarball), name])


def initrd_hooks() -> list[str]:
    """Commands that have an initrd made with these modules alone: an emulated processor takes its time to unpack it."""
    modules = "\\n".join(INITRD_MODULES)
    return [
        'mkdir -p "$1/etc/initramfs-tools/conf.d"',
        'echo MODULES=list > "$1/etc/initramfs-tools/conf.d/lab"',
        f"printf '{modules}\\n' > \"$1/etc/initramfs-tools/modules\"",
    ]
