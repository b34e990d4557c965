"""How soon and in what memory frames are enhanced: a table of benchmarks/results/20_speed.json.

`python -m benchmarks.start` quantizes the built-in GTCRN, and starts each file in processes of
its own, in LiteRT and in C.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.results import FOLDER, put
from edge_se.errors import run_script
from quant import quantize

TITLE = "Start and memory"
COMMAND = "python -m benchmarks.start"
# Title of a column, precision of its file, and engine.
RUNS = (
    ("INT8, LiteRT", "int8", "tflite"),
    ("float, LiteRT", "float", "tflite"),
    ("INT8 in C", "int8", "c"),
    ("float in C", "float", "c"),
)
STARTS = 5
SECONDS = 16  # of audio in each, a thousand frames
ROWS = (
    "start of the process to the first enhanced frame, median",
    "peak above Python with NumPy, `Enhancer(...)` and 1000 frames",
    "change of resident memory over {minutes:g} minutes of audio, after a first one",
)
# What processes print, in MB: the most that one with NumPy alone has.
BARE = """
import numpy
from edge_se.machine import peak_resident_mb
print(peak_resident_mb())
"""
# And by how much what one has changes over so many minutes of audio, after a first one.
STREAM = """
import sys
import numpy as np
from edge_se import Enhancer
from edge_se.machine import resident_mb
enhancer = Enhancer(sys.argv[1], sys.argv[2])
noise = np.random.default_rng(0).standard_normal((64, enhancer.hop_size)).astype(np.float32) / 20
def stream(minutes):
    for n in range(round(60 * minutes / enhancer.manifest.signal.hop_seconds)):
        enhancer.process(noise[n % 64])
    return resident_mb()
before = stream(1)
print(stream(float(sys.argv[3])) - before)
"""


def output_of(*arguments: str) -> str:
    """What Python prints for arguments of its own."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def column(model: Path, engine: str, bare_mb: float, minutes: float) -> list[str]:
    """The cells of a file in an engine.

    Args:
        model: the file.
        engine: "tflite" or "c".
        bare_mb: peak memory of Python with NumPy alone.
        minutes: of audio that memory is watched over.
    """
    options = ("--model", str(model), "--engine", engine, "--seconds", str(SECONDS))
    reports: Sequence[dict[str, Any]] = [
        json.loads(output_of("-m", "edge_se", "benchmark", *options, "--json", "-"))
        for _ in range(STARTS)
    ]
    peak = median(report["peak_rss_mb"] for report in reports) - bare_mb
    change = float(output_of("-c", STREAM, str(model), engine, str(minutes)))
    return [
        f"{median(report['start_s'] for report in reports):.2f} s",
        f"{peak:.1f} MB",
        f"{change:+.1f} MB",
    ]


def main() -> int:
    """Make files, start them, and put the table into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="that memory is watched over")
    parser.add_argument("--json", type=Path, default=FOLDER / "20_speed.json")
    arguments = parser.parse_args()
    bare_mb = float(output_of("-c", BARE))
    columns = []
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        for precision in dict.fromkeys(precision for _, precision, _ in RUNS):
            made = quantize(precision=precision, recovery_minutes=0)
            made.save(Path(name) / f"{precision}.tflite")
        for title, precision, engine in RUNS:
            model = Path(name) / f"{precision}.tflite"
            columns.append(column(model, engine, bare_mb, arguments.minutes))
            print(title, *columns[-1], sep=" | ", flush=True)
    heads = [row.format(minutes=arguments.minutes) for row in ROWS]
    rows = [[head, *cells] for head, *cells in zip(heads, *columns, strict=True)]
    titles = [title for title, _, _ in RUNS]
    measured = f"Memory is resident memory; {STARTS} starts of each, files in the page cache."
    table = {"title": TITLE, "measured": measured, "columns": ["", *titles]}
    put(arguments.json, {**table, "command": [COMMAND], "rows": rows})
    return 0


if __name__ == "__main__":
    run_script(main)
