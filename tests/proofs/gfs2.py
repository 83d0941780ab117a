"""What fsck.gfs2 prints, as the proofs read it."""

from __future__ import annotations

import re

SAYS = re.compile(
    r"Initializing fsck|Validating resource group|Level 1 resource group check|\(level 1 passed\)"
    r"|Starting (pass|check_)|\S+ completed in |\d+ percent complete|fsck\.gfs2 complete|ended with [04]$"
    r"|Reconciling bitmaps"
)
# What a power loss may leave: GFS2 takes a block for a new file in one transaction and fills it in another, and gives
# the block of a deleted file back later. Between the two nothing points to the block, which is lost room and no more.
LEAK = re.compile(r"Block (\d+) \S+ bitmap says (3 \(inode\)|2 \(other\)) but FSCK saw 0 \(free\)")
OF_LEAK = re.compile(
    r"Found invalid inode at block (\d+)|Block (\d+) \S+ was 'DINODE', should be FREE\."
    r"|Bitmap at block (\d+) \S+ left inconsistent"
)
SUMS = re.compile(
    r"The bitmap inconsistency was ignored|RG #\d+ \S+ (free|Inode) count inconsistent"
    r"|Resource group counts left inconsistent|The statfs file (is wrong|was not fixed)"
    r"|(Current|Calculated) statfs values|(blocks|free|dinodes): +\d+ "
)


def read_check(text: str) -> tuple[int, list[str]]:
    """Return how many blocks were leaked, and each line that tells of anything else that is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    leaked = {found[1] for line in lines if (found := LEAK.match(line))}
    wrong = []
    for line in lines:
        if SAYS.match(line) or LEAK.match(line) or (leaked and SUMS.match(line)):
            continue
        of_leak = OF_LEAK.match(line)
        if not (of_leak and leaked & {number for number in of_leak.groups() if number}):
            wrong.append(line)
    if not any(line.startswith("ended with") for line in lines) or "fsck.gfs2 complete" not in lines:
        wrong.append("the check did not end")
    return len(leaked), wrong
