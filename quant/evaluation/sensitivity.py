"""Sensitivity: what quantizing each scope of a network costs, all else being float, or the reverse.

Three questions for each scope: what does it cost alone in 8 bits; what alone in 16; and what is
gained when all is in 8 bits and it alone is left float. The states are a scope, as is the input.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from edge_se.text_table import aligned
from quant.evaluation.judge import SimulatedQuality, SimulationJudge, measure
from quant.graph.encoding import Precision
from quant.graph.recipes import RECIPES, Override, Recipe
from quant.graph.scopes import Scope, find_scopes
from quant.ptq.pipeline import CalibratedGraph, Progress, find_ranges
from quant.ptq.ranges import extreme_ranges

ALL = "all"
# What it is judged by: each scope takes three simulations.
JUDGED_CLIPS, JUDGED_SECONDS = 32, 3.0
# Biases are corrected for each scope and precision anew: on so many clips, as that takes time.
SHIFT_CLIPS = 2


@dataclass(frozen=True)
class ScopeCost:
    """What one scope costs.

    Attributes:
        scope: its name; "all" for the whole network.
        int8: the network with this scope alone in 8 bits.
        int16: with this scope alone in 16.
        left_float: with all in 8 bits but this scope.
    """

    scope: str
    int8: SimulatedQuality
    int16: SimulatedQuality
    left_float: SimulatedQuality


@dataclass(frozen=True)
class Sensitivity:
    """Costs of all scopes, the whole network first, in the order of computation."""

    scopes: tuple[ScopeCost, ...]
    float_scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "float": self.float_scores,
            "scopes": [
                {
                    "scope": entry.scope,
                    "int8": entry.int8.to_dict(),
                    "int16": entry.int16.to_dict(),
                    "left_float": entry.left_float.to_dict(),
                }
                for entry in self.scopes
            ],
        }


def measure_sensitivity(
    calibrated: CalibratedGraph,
    judge: SimulationJudge,
    progress: Progress = lambda stage, done, total: None,
) -> Sensitivity:
    """Measure every scope of a calibrated graph.

    Args:
        calibrated: the network, calibrated; left as it was.
        judge: with clips that calibration did not see.
        progress: told how many scopes are done.
    """
    scopes = [Scope(ALL, ""), *find_scopes(calibrated.graph, calibrated.checkpoint.network.scopes)]
    # What rounding does, not what it does to have loud speech attenuated.
    signal = replace(calibrated.signal, level_dbfs=None)
    calibrated = replace(calibrated, clips=calibrated.clips[:SHIFT_CLIPS], signal=signal)
    costs = []
    with torch.no_grad():
        for done, scope in enumerate(scopes):
            costs.append(
                ScopeCost(
                    scope.name,
                    _alone(calibrated, judge, scope, Precision.INT8),
                    _alone(calibrated, judge, scope, Precision.INT16),
                    _left_float(calibrated, judge, scope),
                )
            )
            progress("scopes", done + 1, len(scopes))
    scores = {name: float(np.nanmean(values)) for name, values in judge.float_scores.items()}
    return Sensitivity(tuple(costs), scores)


def _alone(
    calibrated: CalibratedGraph, judge: SimulationJudge, scope: Scope, precision: Precision
) -> SimulatedQuality:
    recipe = Recipe("float", Precision.FLOAT, (Override(scope.pattern, precision),))
    ranges = (
        extreme_ranges(calibrated.statistics)
        if precision is Precision.INT16
        else find_ranges(calibrated, RECIPES["int8"])
    )
    return measure(calibrated, recipe, ranges, judge)


def _left_float(
    calibrated: CalibratedGraph, judge: SimulationJudge, scope: Scope
) -> SimulatedQuality:
    recipe = Recipe("int8", Precision.INT8, (Override(scope.pattern, Precision.FLOAT),))
    return measure(calibrated, recipe, find_ranges(calibrated, recipe), judge)


def format_sensitivity(sensitivity: Sensitivity) -> str:
    """A table for people: SNRs in dB, and PESQ lost where clean speech is known."""
    with_pesq = "pesq" in sensitivity.float_scores
    heading = ["", "8 bits alone", "", "", "16 bits alone", "", "left float", ""]
    labels = ["scope", "mask dB", "output dB", "PESQ", "mask dB", "output dB", "output dB", "PESQ"]
    whole = sensitivity.scopes[0].int8
    rows = [heading, labels]
    for entry in sensitivity.scopes:
        gained = entry.left_float.output_snr_db - whole.output_snr_db
        rows.append(
            [
                entry.scope,
                f"{entry.int8.mask_snr_db:.1f}",
                f"{entry.int8.output_snr_db:.1f}",
                f"{-entry.int8.losses['pesq'].mean:+.3f}" if with_pesq else "-",
                f"{entry.int16.mask_snr_db:.1f}",
                f"{entry.int16.output_snr_db:.1f}",
                f"{gained:+.1f}" if entry.scope != ALL else "-",
                _pesq_gained(entry, whole) if with_pesq and entry.scope != ALL else "-",
            ]
        )
    return "\n".join(aligned(rows, right=range(1, len(labels))))


def _pesq_gained(entry: ScopeCost, whole: SimulatedQuality) -> str:
    return f"{whole.losses['pesq'].mean - entry.left_float.losses['pesq'].mean:+.3f}"


def draw_sensitivity(sensitivity: Sensitivity, target: Path | BinaryIO) -> None:
    """Plot the table as PNG: SNR of the output with each scope alone in 8 and in 16 bits."""
    from matplotlib.figure import Figure

    entries = sensitivity.scopes[::-1]
    positions = range(len(entries))
    figure = Figure(figsize=(9, 0.32 * len(entries) + 1.4), layout="constrained")
    alone, left = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for quality, colour, label in (
        ([entry.int16.output_snr_db for entry in entries], "#9ecae1", "16 bits"),
        ([entry.int8.output_snr_db for entry in entries], "#d9480f", "8 bits"),
    ):
        alone.hlines(positions, 0, quality, color=colour, linewidth=1.5)
        alone.plot(quality, positions, "o", color=colour, label=label)
    alone.set_yticks(positions, [entry.scope for entry in entries])
    alone.set_xlabel("SNR to float, dB, this scope alone quantized (longer is better)")
    alone.legend(loc="lower right", frameon=False)
    whole = sensitivity.scopes[0].int8.output_snr_db
    gains = [
        0.0 if entry.scope == ALL else entry.left_float.output_snr_db - whole for entry in entries
    ]
    left.barh(positions, gains, color="#2b8a3e", height=0.6)
    left.set_xlabel("dB gained by leaving it float, all else 8 bits")
    for axes in (alone, left):
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    figure.savefig(target, format="png", dpi=110)
