"""What a block device holds: blank, a structure that a tool knows, or what may be somebody's data."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import stat
from collections.abc import Callable, Iterator

BLANK = "blank"
UNKNOWN = "unknown data"
EDGE = 16 * 1024 * 1024
SAMPLE = 64 * 1024
SAMPLES = 64
BLOCK = 1024 * 1024
BLKFLSBUF = 0x1261  # linux/fs.h: forget what is cached of a device
# Structures that wipefs does not know, by what stands at the device's very beginning.
MAGICS = {b"SBD_SBD_": "sbd"}


def edges(size: int) -> list[tuple[int, int]]:
    """Start and end of what is read in whole: both ends, or all of a small device."""
    if size <= 2 * EDGE:
        return [(0, size)]
    return [(0, EDGE), (size - EDGE, size)]


def places(size: int) -> Iterator[tuple[int, int]]:
    """Offset and length of each piece to read, in blocks: both ends in whole, then samples between them."""
    for start, end in edges(size):
        for offset in range(start, end, BLOCK):
            yield offset, min(BLOCK, end - offset)
    between = size - 2 * EDGE
    if between > 0:
        for number in range(SAMPLES):
            # Whole pages, as direct reading asks for.
            offset = EDGE + between * number // SAMPLES // mmap.PAGESIZE * mmap.PAGESIZE
            yield offset, min(SAMPLE, size - EDGE - offset)


def first_data(size: int, read: Callable[[int, int], bytes]) -> int | None:
    """Offset of the first byte that was read and is not zero, or none."""
    for offset, length in places(size):
        data = read(offset, length).lstrip(b"\0")
        if data:
            return offset + length - len(data)
    return None


def parse_wipefs(text: str) -> list[str]:
    """Names of the structures that `wipefs --json` lists; it prints nothing when it finds none."""
    if not text.strip():
        return []
    return list(dict.fromkeys(item["type"] for item in json.loads(text)["signatures"]))


def structures(beginning: bytes, wipefs: str) -> list[str]:
    """Names of all structures on a device."""
    return [name for magic, name in MAGICS.items() if beginning.startswith(magic)] + parse_wipefs(wipefs)


def verdict(device: str, found: list[str], data_at: int | None, accept: list[str], erase: list[str]) -> tuple[str, str]:
    """What a device holds, and what follows: `keep`, `use` (blank), `erase` or `refuse`."""
    if found and set(found) <= set(accept):
        return ", ".join(found), "keep"
    if not found and data_at is None:
        return BLANK, "use"
    content = ", ".join(found) or f"{UNKNOWN} at byte {data_at}"
    return content, "erase" if device in erase else "refuse"


def refusal(device: str, content: str, accept: list[str], variable: str) -> str:
    """The message for a device that is not to be touched."""
    wanted = f"a blank device{' or one with ' + ', '.join(accept) if accept else ''}"
    return f"{device} holds {content}; wanted {wanted}. If that may be lost, name {device} in {variable}"


class Device:
    """An open block device (or a file, in tests)."""

    def __init__(self, path: str) -> None:
        """Open it for reading."""
        mode = os.stat(path).st_mode
        self.block = stat.S_ISBLK(mode)
        if not self.block and not stat.S_ISREG(mode):
            raise OSError(f"{path} is no block device")
        self.path = path
        # Past the cache: another host may have written to a shared disk.
        self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if self.block else 0))
        if self.block:
            fcntl.ioctl(self.handle, BLKFLSBUF)  # for wipefs, which reads through the cache
        self.size = os.lseek(self.handle, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """A piece; the buffer is a page's multiple, as direct reading needs it."""
        with mmap.mmap(-1, length + -length % mmap.PAGESIZE) as buffer:
            count = os.preadv(self.handle, [buffer], offset)
            if count < length:
                raise OSError(f"{self.path} ends at byte {offset + count}, but its size is {self.size}")
            return buffer[:length]

    def claim(self) -> int:
        """Open it for writing, which fails while it is mounted or part of something."""
        return os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | (os.O_EXCL if self.block else 0))

    def erase(self) -> None:
        """Overwrite both ends with zeros."""
        handle = self.claim()
        try:
            for start, end in edges(self.size):
                for offset in range(start, end, BLOCK):
                    os.pwrite(handle, bytes(min(BLOCK, end - offset)), offset)
            os.fsync(handle)
        finally:
            os.close(handle)


def holds(path: str, output: Callable[[list[str]], str]) -> tuple[list[str], int | None]:
    """Names of the structures on a device, or where the first data is that belongs to none; neither when it is blank.

    output gives what a command prints.
    """
    device = Device(path)
    try:
        wipefs = output(["wipefs", "--json", "--no-act", path])
        found = structures(device.read(0, min(512, device.size)), wipefs)
        return found, None if found else first_data(device.size, device.read)
    finally:
        os.close(device.handle)
