"""Look for faults in engines: `python -m targets.c.checks stress`, `hostile` or `fuzz [SECONDS]`.

Engines of the built-in GTCRN, each arithmetic in turn; `plugin` looks for faults in plugins of
them. clang is needed for `fuzz`.
"""

import argparse
from pathlib import Path

from edge_se.engines.generated import ARITHMETICS
from edge_se.errors import run_script
from targets.c.checks.run import (
    fuzz,
    generate_built_in,
    hostile,
    plugin,
    plugin_of_built_in,
    stress,
)

MUTATIONS = 10_000


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m targets.c.checks", description=__doc__)
    parser.add_argument("check", choices=("stress", "hostile", "fuzz", "plugin"))
    parser.add_argument("seconds", nargs="?", type=int, default=180, help="of fuzzing, each engine")
    parser.add_argument("--arithmetic", choices=ARITHMETICS, action="append")
    parser.add_argument(
        "--sources", type=Path, help="folder of an exported engine to check instead"
    )
    arguments = parser.parse_args()
    for arithmetic in arguments.arithmetic or ARITHMETICS:
        if arguments.check == "plugin":
            folder = arguments.sources or plugin_of_built_in(arithmetic)
            for compiler in ("gcc", "clang"):
                print(f"{arithmetic}, {compiler}: {plugin(folder, compiler)}")
            continue
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
    run_script(main)
