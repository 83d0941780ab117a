"""What a device holds: nothing that may be somebody's data passes as blank."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from library import device_content
from module_utils.devices import EDGE, first_data, parse_wipefs, places, structures, verdict

MODULE = Path(device_content.__file__)
# Ansible offers a module the project's module_utils below its own name.
RUN = (
    "import ansible.module_utils, runpy;"
    f" ansible.module_utils.__path__.append({str(MODULE.parents[1] / 'module_utils')!r});"
    f" runpy.run_path({str(MODULE)!r}, run_name='__main__')"
)
MIB = 1024 * 1024
# util-linux 2.38 (Debian 12) and 2.41 (Debian 13) print the same.
WIPEFS_EXT4 = """{
   "signatures": [
      {
         "device": "ubda",
         "offset": "0x438",
         "type": "ext4",
         "uuid": "e3c0ea07-1edb-4a82-a36d-4cde16608bd1",
         "label": null
      }
   ]
}
"""
WIPEFS_GPT = """{
   "signatures": [
      {"device": "ubda", "offset": "0x200", "type": "gpt", "uuid": null, "label": null},
      {"device": "ubda", "offset": "0x3fffe00", "type": "gpt", "uuid": null, "label": null},
      {"device": "ubda", "offset": "0x1fe", "type": "PMBR", "uuid": null, "label": null}
   ]
}
"""
WIPEFS_NOTHING = '{\n   "signatures": [\n\n   ]\n}\n'
SBD_HEADER = b"SBD_SBD_" + bytes([0, 2, 0, 0]) + bytes(500)


@pytest.mark.parametrize(
    ("text", "names"), [(WIPEFS_EXT4, ["ext4"]), (WIPEFS_GPT, ["gpt", "PMBR"]), (WIPEFS_NOTHING, []), ("", [])]
)
def test_wipefs(text: str, names: list[str]) -> None:
    assert parse_wipefs(text) == names


def test_sbd_is_known_though_wipefs_does_not_know_it() -> None:
    assert structures(SBD_HEADER, WIPEFS_NOTHING) == ["sbd"]
    assert structures(bytes(512), WIPEFS_NOTHING) == []
    assert structures(SBD_HEADER, WIPEFS_EXT4) == ["sbd", "ext4"]


@pytest.mark.parametrize("size", [512, MIB, 2 * EDGE, 2 * EDGE + 512, 2 * EDGE + MIB, 64 * MIB, 1 << 40])
def test_both_ends_are_read_in_whole_and_nothing_beyond(size: int) -> None:
    pieces = list(places(size))
    assert all(start >= 0 and length > 0 and start + length <= size for start, length in pieces)
    read = sum(length for _, length in pieces)
    if size <= 2 * EDGE:
        assert read == size
    else:
        assert sum(length for start, length in pieces if start < EDGE) == EDGE
        assert sum(length for start, length in pieces if start >= size - EDGE) == EDGE
    assert read <= 40 * MIB
    assert all(start % 512 == 0 for start, _ in pieces)


@pytest.mark.parametrize("at", [0, 511, 5120000, EDGE - 1, EDGE, (1 << 40) - EDGE, (1 << 40) - 1])
def test_a_single_byte_is_found(at: int) -> None:
    def read(offset: int, length: int) -> bytes:
        piece = bytearray(length)
        if offset <= at < offset + length:
            piece[at - offset] = 1
        return bytes(piece)

    assert first_data(1 << 40, read) == at


@pytest.mark.parametrize(
    ("found", "data_at", "accept", "erase", "expected"),
    [
        ([], None, ["sbd"], [], ("blank", "use")),
        ([], None, ["sbd"], ["/dev/x"], ("blank", "use")),
        (["sbd"], None, ["sbd"], [], ("sbd", "keep")),
        (["sbd"], None, ["sbd"], ["/dev/x"], ("sbd", "keep")),  # what is ours outlives a forgotten erase
        (["sbd"], None, ["gfs2"], [], ("sbd", "refuse")),
        (["sbd", "ext4"], None, ["sbd"], [], ("sbd, ext4", "refuse")),
        (["ext4"], None, ["sbd"], ["/dev/y"], ("ext4", "refuse")),
        (["ext4"], None, ["sbd"], ["/dev/x"], ("ext4", "erase")),
        ([], 7, ["sbd"], [], ("unknown data at byte 7", "refuse")),
        ([], 7, ["sbd"], ["/dev/x"], ("unknown data at byte 7", "erase")),
    ],
)
def test_verdict(found, data_at, accept, erase, expected) -> None:
    assert verdict("/dev/x", found, data_at, accept, erase) == expected


def run(*devices: Path, check: bool = False, **options: object) -> dict:
    arguments = {"devices": list(map(str, devices)), "_ansible_check_mode": check, "_ansible_diff": True, **options}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)


@pytest.fixture
def disk(tmp_path: Path):
    """Make a disk of 40 MiB, with some bytes somewhere."""

    def make(name: str = "disk", data: bytes = b"", at: int = 0) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(40 * MIB)
            file.seek(at)
            file.write(data)
        return path

    return make


def test_blank_and_ours_pass(disk) -> None:
    blank, ours = disk("blank"), disk("ours", SBD_HEADER)
    result = run(blank, ours, accept=["sbd"])
    assert not result["changed"]
    assert result["content"] == {str(blank): "blank", str(ours): "sbd"}
    assert result["blank"] == [str(blank)]


def test_all_refusals_at_once_and_nothing_is_touched(disk, tmp_path) -> None:
    unknown, other, named = disk("unknown", b"letter", 5 * MIB), disk("other", SBD_HEADER), disk("named", b"x")
    before = named.read_bytes()
    missing = tmp_path / "missing"
    result = run(unknown, other, named, missing, accept=["gfs2"], erase=[str(named)], erase_variable="my_erase")
    assert result["failed"]
    assert f"{unknown} holds unknown data at byte {5 * MIB}; wanted a blank device or one with gfs2" in result["msg"]
    assert f"name {unknown} in my_erase" in result["msg"]
    assert f"{other} holds sbd" in result["msg"]
    assert f"{missing} cannot be used: No such file" in result["msg"]
    assert named.read_bytes() == before


def test_erases_only_what_is_named(disk) -> None:
    path = disk("old", b"data", 39 * MIB)
    predicted = run(path, erase=[str(path)], check=True)
    assert predicted["changed"] and predicted["erased"] == [str(path)] and path.read_bytes().strip(b"\0")
    result = run(path, erase=[str(path)])
    assert result["changed"] and result["blank"] == [str(path)] and not path.read_bytes().strip(b"\0")
    assert result["diff"] == {
        "before": f"{path}: unknown data at byte {39 * MIB}\n",
        "after": f"{path}: blank\n",
    }
    assert not run(path, erase=[str(path)])["changed"]


def test_erase_names_no_other_device(disk) -> None:
    result = run(disk(), erase=["/dev/sdz"])
    assert result["failed"] and "/dev/sdz is in erase, but not among the devices" in result["msg"]
