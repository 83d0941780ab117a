"""What this machine needs before containers run on it: podman's settings and a cache of Debian packages."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from .commands import CACHE, LabError, run, say, succeeds

CACHE_BRIDGE = "dclab0"
CACHE_ADDRESS = "10.231.0.1"
CACHE_PORT = 3142
NETWORKS = "10.231.0.0/16"  # all of the lab's
TABLE = "dovecluster_lab"
PROXY = f"http://{CACHE_ADDRESS}:{CACHE_PORT}"
CAP_SYS_RESOURCE = 24
KVM = "/dev/kvm"
INOTIFY_INSTANCES = 8192
CGROUP_SECONDS = 5
# On machines with version 1 cgroups there is one more hierarchy, of version 2, here.
UNIFIED = Path("/sys/fs/cgroup/unified")


def give_podman_settings() -> None:
    """Write the lab's own containers.conf, without which podman does not even tell what there is."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: run it with sudo")
    CACHE.mkdir(parents=True, exist_ok=True)
    conf = CACHE / "containers.conf"
    wanted = containers_conf(Path("/proc/self/status").read_text(), Path("/sys/fs/cgroup"))
    if not conf.exists() or conf.read_text() != wanted:
        # Two may do this at a time, and a third read it.
        scratch = CACHE / f"containers.conf.{os.getpid()}"
        scratch.write_text(wanted)
        scratch.rename(conf)


def prepare() -> None:
    """Make the machine ready for hosts: may be called any number of times, by one at a time."""
    # Images are built here, where the next build removes what an interrupted one left.
    scratch = CACHE / "scratch"
    if scratch.exists():
        shutil.rmtree(scratch)
    scratch.mkdir()
    os.environ["TMPDIR"] = str(scratch)
    allow_inotify()
    pass_frames()
    start_package_cache()


def clean_up() -> None:
    """Take away what runs here for all labs, once the last of them is gone; packages that were cached stay on disk."""
    stop_package_cache()
    if succeeds(["nft", "list", "table", "inet", TABLE]):
        run(["nft", "delete", "table", "inet", TABLE])


def pass_frames() -> None:
    """Keep the machine's firewall off what hosts send each other, as a switch has none.

    With br_netfilter, frames between ports of a bridge go through it, and podman's (netavark 1.14) drops what belongs
    to no connection that it saw: answers that come another way, as with LVS before servers that answer clients.
    """
    rule = f"ip saddr {NETWORKS} ip daddr {NETWORKS} fib daddr type != local notrack"
    chain = f"chain prerouting {{\ntype filter hook prerouting priority raw\n{rule}\n}}"
    run(["nft", "-f", "-"], stdin=f"table inet {TABLE}\nflush table inet {TABLE}\ntable inet {TABLE} {{\n{chain}\n}}\n")


def allow_inotify() -> None:
    """Raise the limit on inotify instances, which all hosts share as they share root: systemd alone takes several."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < INOTIFY_INSTANCES:
        limit.write_text(str(INOTIFY_INSTANCES))
        say(f"raised fs.inotify.max_user_instances to {INOTIFY_INSTANCES} until the next boot")


def containers_conf(process_status: str, cgroup_root: Path) -> str:
    """Settings that podman needs here and an ordinary laptop doesn't.

    process_status is the text of /proc/self/status. Without CAP_SYS_RESOURCE limits can't be raised, so lower ones
    are set; crun refuses hybrid cgroups (a v1 hierarchy with "unified" beside it), runc takes them.
    """
    lines = ["[containers]"]
    bounding = next(line.split()[1] for line in process_status.splitlines() if line.startswith("CapBnd:"))
    low_limits = not int(bounding, 16) >> CAP_SYS_RESOURCE & 1
    hybrid = (cgroup_root / "unified").is_dir()
    if low_limits or hybrid:
        lines.append('default_ulimits = ["nofile=16384:16384", "nproc=30000:30000"]')
    lines.append("[engine]")
    if hybrid:
        lines.append('runtime = "runc"')
        lines.append('cgroup_manager = "cgroupfs"')
    return "\n".join(lines) + "\n"


def kernel_arguments(kernel: str, image: str) -> list[str]:
    """Return what podman must be told of a container that has a kernel of its own, of either kind."""
    if kernel == "full":
        found = accelerator(image)
        devices = ["/dev/net/tun", *([KVM] if found == "kvm" else [])]
        return [
            *("--cap-add", "NET_ADMIN", "--env", f"LAB_ACCELERATOR={found}"),
            *(word for device in devices for word in ("--device", device)),
        ]
    return [
        *("--cap-add", "NET_ADMIN,NET_RAW,SYS_PTRACE", "--security-opt", "seccomp=unconfined"),
        *("--tmpfs", "/lab-memory:exec,mode=0700,size=16g"),
        *own_kernel_mends(),
    ]


def accelerator(image: str) -> str:
    """Return how QEMU runs full machines here: by KVM where that works, else emulated. It is tried once a boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = CACHE / "accelerator"
    if known.exists() and known.read_text().startswith(boot):
        return known.read_text().removeprefix(boot).strip()
    probe = ["podman", "run", "--rm", "--network", "none", "--device", KVM, image, "/sbin/lab-kvm"]
    # What is emulated has translated code in a cache, which would take as much memory as the guest.
    found = "kvm" if Path(KVM).exists() and succeeds(probe) else "tcg,tb-size=256"
    say("full machines run by KVM" if found == "kvm" else "full machines are emulated: KVM does not work here")
    scratch = known.with_suffix(f".{os.getpid()}")
    scratch.write_text(f"{boot} {found}")
    scratch.rename(known)
    return found


def own_kernel_mends() -> list[str]:
    """Return what podman must be told of the mends for User-Mode Linux, which are compiled here."""
    source = Path(__file__).parent / "own-kernel" / "uml-mends.c"
    library = CACHE / f"uml-mends-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}.so"
    if not library.exists():
        if not shutil.which("cc"):
            raise LabError("hosts with their own kernel need a C compiler: script/setup installs it")
        scratch = library.with_suffix(f".{os.getpid()}")
        run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(scratch), str(source)])
        scratch.rename(library)
    return ["--volume", f"{library}:/lab-preload.so:ro"]


def systemd_arguments(lab: str, host: str, unified: Path = UNIFIED) -> list[str]:
    """Return what podman must be told of a container that boots systemd.

    With version 1 cgroups podman would give it those, and systemd is not told there when a service's last process has
    ended: now and then a stop would take 90 s. So it gets the hierarchy of version 2, to write in its own part only.
    """
    if not unified.is_dir():
        return ["--systemd=always"]
    group = f"dovecluster/{lab}/{host}"
    (unified / group).mkdir(parents=True, exist_ok=True)
    return [
        "--systemd=false",  # podman's way, of which the rest is done here
        *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"),
        *("--cgroup-parent", f"/{group}"),
        *("--volume", f"{unified}:/sys/fs/cgroup:ro"),
        *("--volume", f"{unified}/{group}:/sys/fs/cgroup/{group}:rw"),
    ]


def remove_cgroups(lab: str, hierarchies: Path = UNIFIED.parent) -> None:
    """Remove what systemd_arguments() made for a lab's hosts, which are gone, and podman after it in each hierarchy."""
    for group in hierarchies.glob(f"*/dovecluster/{lab}"):
        for directory in sorted((group, *group.glob("**/")), reverse=True):
            remove_cgroup(directory)
        with suppress(OSError):  # others have labs
            group.parent.rmdir()


def remove_cgroup(directory: Path) -> None:
    """Remove a cgroup, whose last process may be about to end. A hierarchy can be there by two names."""
    deadline = time.monotonic() + CGROUP_SECONDS
    while directory.exists():
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise LabError(f"cgroup {directory} cannot be removed: {error}") from error
            time.sleep(0.1)


def start_package_cache() -> None:
    """Run apt-cacher-ng on an address of its own, so that each package is downloaded once for all hosts."""
    if cache_answers():
        return
    if not Path("/usr/sbin/apt-cacher-ng").exists():
        raise LabError("apt-cacher-ng is missing: script/setup installs what the lab needs")
    if not Path(f"/sys/class/net/{CACHE_BRIDGE}").exists():
        run(["ip", "link", "add", CACHE_BRIDGE, "type", "bridge"])
        run(["ip", "address", "add", f"{CACHE_ADDRESS}/32", "dev", CACHE_BRIDGE])
    run(["ip", "link", "set", CACHE_BRIDGE, "up"])
    user = pwd.getpwnam("apt-cacher-ng")
    directory = CACHE / "packages"
    directory.mkdir(exist_ok=True)
    os.chown(directory, user.pw_uid, user.pw_gid)
    # A configuration of the lab's own: Debian's remaps deb.debian.org to a list of mirrors that may be empty.
    configuration = CACHE / "package-cache"
    configuration.mkdir(exist_ok=True)
    (configuration / "acng.conf").write_text(
        f"BindAddress: {CACHE_ADDRESS}\nPort: {CACHE_PORT}\nForeGround: 1\nSupportDir: /usr/lib/apt-cacher-ng\n"
        f"CacheDir: {directory}\nLogDir: {directory}/log\nSocketPath: {directory}/socket\nPidFile: {directory}/pid\n"
    )
    subprocess.Popen(
        ["apt-cacher-ng", "-c", str(configuration)],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},  # it serves all labs, so it has no mark of this one
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 10
    while not cache_answers():
        if time.monotonic() > deadline:
            raise LabError(
                f"the package cache does not answer on {CACHE_ADDRESS}:{CACHE_PORT}; see {CACHE}/packages/log"
            )
        time.sleep(0.1)
    say(f"package cache runs on {PROXY}")


def stop_package_cache() -> None:
    """End the cache."""
    # A container on this machine may have a lab of its own, as when the demo is tried in a clean root.
    ours = ["--ns", str(os.getpid()), "--nslist", "pid"]
    run(["pkill", *ours, "-f", f"^apt-cacher-ng -c {CACHE}/package-cache"], check=False)
    if Path(f"/sys/class/net/{CACHE_BRIDGE}").exists():
        run(["ip", "link", "delete", CACHE_BRIDGE])


def cache_answers() -> bool:
    """Whether the cache listens on its own address; without its bridge the address would be some other machine's."""
    if not Path(f"/sys/class/net/{CACHE_BRIDGE}").exists():
        return False
    try:
        socket.create_connection((CACHE_ADDRESS, CACHE_PORT), timeout=1).close()
    except OSError:
        return False
    return True
