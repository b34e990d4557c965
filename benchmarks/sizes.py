"""How large C engines are: a table of benchmarks/results/40_sizes.json.

`python -m benchmarks.sizes` has `edge-se compile` compile the built-in GTCRN in every arithmetic,
for this machine by gcc and clang, and for boards by zig, as wheels are.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, put
from edge_se.engines.generated import ARITHMETICS
from edge_se.machine import cpu_model

TITLE = "C engine as a shared library, weights inside"
COMMAND = "python -m benchmarks.sizes"
# Columns: options of `edge-se compile`, and its compiler where that is this machine's.
TARGETS: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "this machine, gcc": ((), "gcc"),
    "this machine, clang": ((), "clang"),
    "64-bit Arm, zig": (("--board", "aarch64"), None),
    "32-bit Arm, zig": (("--board", "armv7"), None),
}


def sizes(arithmetic: str) -> Iterator[str]:
    """The cells of an arithmetic, a target each."""
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        library = Path(name) / "engine.so"
        for options, compiler in TARGETS.values():
            program = (sys.executable, "-m", "edge_se", "compile")
            command = [*program, "--arithmetic", arithmetic, *options]
            environment = os.environ | ({} if compiler is None else {"CC": compiler})
            subprocess.run([*command, "--out", str(library)], env=environment, check=True)
            yield f"{library.stat().st_size / 1000:.0f} KB"


def main() -> int:
    """Compile, and put the table into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--json", type=Path, default=FOLDER / "40_sizes.json")
    arguments = parser.parse_args()
    table: dict[str, Any] = {
        "title": TITLE,
        "measured": "KB are 1000 bytes of the whole file. For this machine means for all "
        f"instructions of its {cpu_model()}, for boards those that all of a kind have.",
        "command": [COMMAND],
        "columns": ["", *TARGETS],
        "rows": [[arithmetic, *sizes(arithmetic)] for arithmetic in ARITHMETICS],
    }
    put(arguments.json, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
