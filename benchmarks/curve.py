"""The training curve: loss and validation scores of one or several runs, as a picture.

`python -m benchmarks.curve history.jsonl --out curve.png`
"""

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_se.errors import UserError

SCORES = {"loss": "training loss", "pesq": "PESQ-WB", "si_snr": "SI-SNR (dB)"}


def read_history(path: Path) -> list[dict[str, Any]]:
    """The validations of a run's `history.jsonl`; entries of later runs may follow, named by "run".

    Raises:
        UserError: the file is missing or not what training writes.
    """
    try:
        entries = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); name a run's history.jsonl") from error
    if not entries or any("training_seconds" not in entry for entry in entries):
        raise UserError(f"{path} holds no validations; name a run's history.jsonl")
    return entries


def draw_curve(entries: list[dict[str, Any]], path: Path) -> None:
    """Plot loss and validation scores over minutes of training, runs one after the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(len(SCORES), sharex=True)
    start = 0.0
    for name, run in groupby(entries, key=lambda entry: entry.get("run", "")):
        found = list(run)
        minutes = [start + entry["training_seconds"] / 60 for entry in found]
        for axes, (key, title) in zip(panels, SCORES.items(), strict=True):
            axes.plot(minutes, [entry[key] for entry in found], marker=".", label=name)
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
        start = minutes[-1]
    panels[-1].set_xlabel("minutes of training")
    if any("run" in entry for entry in entries):
        panels[1].legend(loc="upper left", ncols=2)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("history", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    draw_curve(read_history(arguments.history), arguments.out)


if __name__ == "__main__":
    main()
