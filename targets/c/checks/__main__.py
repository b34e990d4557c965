"""Look for faults in engines: `python -m targets.c.checks stress`, `hostile` or `fuzz [SECONDS]`.

Both arithmetics of the built-in network; clang is needed for `fuzz`.
"""

import argparse
import sys
from pathlib import Path

from edge_se.engines.generated import ARITHMETICS
from edge_se.errors import UserError
from targets.c.checks.run import fuzz, generate_built_in, hostile, stress

MUTATIONS = 10_000


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m targets.c.checks", description=__doc__)
    parser.add_argument("check", choices=("stress", "hostile", "fuzz"))
    parser.add_argument("seconds", nargs="?", type=int, default=180, help="of fuzzing, each engine")
    parser.add_argument("--arithmetic", choices=ARITHMETICS, action="append")
    parser.add_argument(
        "--sources", type=Path, help="folder of an exported engine to check instead"
    )
    arguments = parser.parse_args()
    for arithmetic in arguments.arithmetic or ARITHMETICS:
        folder = arguments.sources or generate_built_in(arithmetic)
        if arguments.check == "stress":
            for compiler in ("gcc", "clang"):
                print(f"{arithmetic}, {compiler}: {stress(folder, arithmetic, compiler)}")
        elif arguments.check == "hostile":
            print(f"{arithmetic}: {hostile(folder, arithmetic, 'gcc', MUTATIONS)}")
        else:
            print(f"{arithmetic}: {fuzz(folder, arithmetic, arguments.seconds)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"edge-se: error: {error}")
