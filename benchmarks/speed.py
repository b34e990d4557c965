"""Times a hop on this machine, by turns in one run: a table of benchmarks/results/20_speed.json.

`python -m benchmarks.speed AUDIO [CHECKPOINT ...] [--peers PEER ...]` quantizes the built-in
network and the checkpoints, and times their files in C and in LiteRT beside other people's models
(what `edge-se benchmark --compare` takes). All is compared with the built-in GTCRN in C, in
float.
"""

import argparse
import platform
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, put
from edge_se.audio import read
from edge_se.comparison import compare
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from edge_se.machine import cpu_model
from edge_se.peers import Ours, Peer, load_peer
from edge_se.resampling import resample
from quant import quantize
from quant.checkpoints import default_checkpoint_path

TITLE = "Engines and others"
COMMAND = "python -m benchmarks.speed noisy.wav [CHECKPOINT ...] [--peers PEER ...]"
COLUMNS = [
    *("", "kB", "hop ms", "µs a hop p5, p50", "real-time factor p50"),
    "ratio of that to the first, p5, p50",
]
# Precision of a file, engine, and which STFT, where the engine's own is not meant.
RUNS = (
    ("float", "c", None),
    ("int8", "c", None),
    ("int16x8", "c", "fixed"),
    ("float", "tflite", None),
    ("int8", "tflite", None),
    ("dynamic", "tflite", None),
)
NAMES = {"c": "C", "tflite": f"LiteRT {version('ai-edge-litert')}"}


def ours(checkpoints: Sequence[Path], folder: Path) -> Iterator[Peer]:
    """Networks in every precision and engine; their files are made in a folder."""
    for number, checkpoint in enumerate(checkpoints):
        for precision in dict.fromkeys(precision for precision, *_ in RUNS):
            made = quantize(checkpoint, precision=precision, recovery_minutes=0)
            made.save(folder / f"{number}_{precision}.tflite")
        for precision, engine, stft in RUNS:
            enhancer = Enhancer(folder / f"{number}_{precision}.tflite", engine, stft=stft)
            found = Ours(enhancer)
            told = enhancer.manifest.architecture, checkpoint.name
            found.name = f"{told[0]} ({told[1]}), `{precision}` in {NAMES[engine]}"
            if stft is not None:
                found.name += f", {stft}"
            yield found


def cells(entry: dict[str, Any]) -> list[str]:
    """The row of one system, from `compare`."""
    times, ratios = entry["frame_us"], entry["ratio"]
    return [
        entry["name"],
        f"{entry['size_kb']:,.0f}",
        f"{entry['hop_ms']:g}",
        f"{times['p5']:.1f}, {times['p50']:.1f}",
        f"{entry['rtf']['p50']:.5f}",
        f"{ratios['p5']:.2f}, {ratios['p50']:.2f}",
    ]


def main() -> int:
    """Make files, time them, and put the table into the file of results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("audio", type=Path, help="recording to enhance")
    parser.add_argument("checkpoints", nargs="*", type=Path, help="of further networks")
    parser.add_argument("--peers", nargs="+", type=Path, default=[])
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio for each")
    parser.add_argument("--json", type=Path, default=FOLDER / "20_speed.json")
    arguments = parser.parse_args()
    recording = read(arguments.audio)
    checkpoints = [default_checkpoint_path(), *arguments.checkpoints]
    peers = [*map(load_peer, arguments.peers)]
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        found = [*ours(checkpoints, Path(name)), *peers]
        mono = recording.samples.mean(axis=1)
        samples = resample(mono, recording.rate, found[0].sample_rate)
        report = compare(found, samples, arguments.seconds)
    for entry in report:
        print(*cells(entry), sep=" | ", flush=True)
    measured = (
        f"On {cpu_model()} ({platform.machine()}), {arguments.seconds:g} s of speech each. Ratios "
        "are of real-time factors, since hops differ; times are those of a shared machine."
    )
    table = {"title": TITLE, "measured": measured, "columns": COLUMNS, "command": [COMMAND]}
    put(arguments.json, {**table, "rows": [cells(entry) for entry in report]})
    return 0


if __name__ == "__main__":
    run_script(main)
