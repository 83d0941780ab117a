"""Run proofs against a provisioned lab: `python3 -m tests.proofs [--lab NAME] [--json FILE] PROOF...`.

Exit status 0 when every proof passed; the ledgers of a run are kept and named in the result.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from .lab import Lab
from .proof import Proof, summary

# What can be run is a proof; other files here are what proofs share.
PROOFS = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if "\ndef run(" in path.read_text())


def main() -> int:
    """Run the proofs named, in order, and print a table."""
    parser = argparse.ArgumentParser(prog="proofs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("proofs", nargs="+", metavar="PROOF", help=", ".join(PROOFS))
    parser.add_argument("--lab", help="which lab; needless while there is only one")
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    unknown = set(options.proofs) - set(PROOFS)
    if unknown:
        parser.error(f"no proof {', '.join(sorted(unknown))}; there are {', '.join(PROOFS)}")
    results: list[dict[str, Any]] = []
    for name in options.proofs:
        proof = Proof(name, Lab(options.lab))
        try:
            importlib.import_module(f"tests.proofs.{name}").run(proof)
        except Exception as error:  # the others are still worth running, and the table must show this one
            traceback.print_exc()
            proof.faults.append(f"{type(error).__name__}: {error}")
        results.append(proof.result())
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(summary(results))
    return 0 if all(result["passed"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
