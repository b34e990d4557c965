"""The training curve: loss and validation scores of one or several runs, as a picture.

`python -m benchmarks.curve history.jsonl --out curve.png`
"""

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from edge_se.errors import UserError, run_script

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
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(len(SCORES), sharex=True)
    start, runs = 0.0, groupby(entries, key=lambda entry: entry.get("run", ""))
    colours = colormaps["tab20"]
    for number, (name, run) in enumerate(runs):
        found = list(run)
        minutes = [start + entry["training_seconds"] / 60 for entry in found]
        for axes, (key, title) in zip(panels, SCORES.items(), strict=True):
            scores = [entry[key] for entry in found]
            axes.plot(minutes, scores, marker=".", label=name, color=colours(number % colours.N))
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
        start = minutes[-1]
    panels[-1].set_xlabel("minutes of training")
    if any("run" in entry for entry in entries):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("history", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    draw_curve(read_history(arguments.history), arguments.out)


if __name__ == "__main__":
    run_script(main)
