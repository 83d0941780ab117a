"""Puts a file into the dump of an empty volume, and lets anybody read and write it.

Hosts without a kernel module for AFS have no client that could. Usage: dump.py EMPTY NEW < CONTENT
The file is vnode 2, uniquifier 1, and its name is `file`.
"""

import struct
import sys
from pathlib import Path

END = bytes.fromhex("043a214b6e")
ROOT = bytes.fromhex("030000000100000001")  # vnode 1, uniquifier 1
ANYUSER, ALL = -101, 0x7F
BLOB, FREE_MAP, FREE, HASHES, FIRST_FREE = 32, 5, 32, 160, 15


def bucket(name: bytes) -> int:
    """The place of a name in a directory's table."""
    value = 0
    for letter in name:
        value = (letter + value * 173) & 0xFFFFFFFF
    place = value & 127
    return 128 - place if place and value & 0x80000000 else place


def with_file(dump: bytes, content: bytes) -> bytes:
    """The dump with a file."""
    data = bytearray(dump)
    assert data.endswith(END)
    root = data.index(ROOT)
    acl = data.index(b"A", root + 40) + 1
    size, version, total, positive = struct.unpack_from(">4i", data, acl)
    assert (version, total, positive) == (1, 1, 1)
    struct.pack_into(">4i", data, acl, size + 8, 1, 2, 2)
    struct.pack_into(">ii", data, acl + 28, ANYUSER, ALL)
    page = acl + 192 + 5
    assert data[page + 2 : page + 4] == b"\x04\xd2"
    data[page + FREE_MAP + FIRST_FREE // 8] |= 1 << FIRST_FREE % 8
    data[page + FREE] -= 1
    name = b"file"
    struct.pack_into(">H", data, page + HASHES + 2 * bucket(name), FIRST_FREE)
    entry = struct.pack(">BBHII", 1, 0, 0, 2, 1) + name
    data[page + FIRST_FREE * BLOB : page + FIRST_FREE * BLOB + len(entry)] = entry
    time = data[data.index(b"m", root + 9) + 1 :][:4]
    vnode = struct.pack(">BIIcBcHcI", 3, 2, 1, b"t", 1, b"l", 1, b"v", 1) + b"m" + time
    vnode += struct.pack(">cIcIcHcI", b"a", 0, b"o", 0, b"b", 0o666, b"p", 1) + b"s" + time
    vnode += struct.pack(">cI", b"f", len(content)) + content
    used = data.index(b"d", data.index(b"q")) + 1
    struct.pack_into(">I", data, used, 2 + -(-len(content) // 1024))
    return bytes(data[: -len(END)]) + vnode + END


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(with_file(Path(sys.argv[1]).read_bytes(), sys.stdin.buffer.read()))
