"""The choice of a recipe: the cheapest INT8 candidate whose output is near enough to float.

Candidates are tried from the cheapest on a board. Nearness is the compressed-spectrum SNR to the
float network on mixtures that were not used for calibration, so that it can be measured without
clean speech; a quality budget in PESQ stands for an SNR as below.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from quant.bias_correction import correct_biases
from quant.clips import CalibrationClips
from quant.graph.encoding import assign_encodings
from quant.graph.graph import Range
from quant.graph.simulate import FakeQuantizer
from quant.models.checkpoint import Checkpoint
from quant.pipeline import (
    CALIBRATION_SEED,
    CalibratedGraph,
    Progress,
    calibrate_checkpoint,
    default_ranges,
    noisy_clips,
)
from quant.range_search import Scene, compressed_snr
from quant.recipes import RECIPES, Recipe
from quant.streaming import describe_step

# From the cheapest. Instructions per frame on an emulated Cortex-A72, of a prototype's graph:
# static INT8 1.01 M, dynamic 1.33 M; a float front adds a few percent to the former.
CANDIDATES = ("int8", "int8_float_front", "dynamic")
JUDGED_CLIPS = 8
JUDGED_SAMPLES = 48000
# Two draws, 64 mixtures of training speakers, DNS3 checkpoint: int8 lost 0.105 PESQ at 15.4 dB,
# int8_float_front 0.0375 at about 19 dB; between and beyond, the loss is taken as exponential.
_ANCHOR_DB, _ANCHOR_LOSS, _DB_PER_FACTOR_E = 15.4, 0.105, 3.5


@dataclass(frozen=True)
class Candidate:
    """A recipe made ready, and how near its output is to float.

    Attributes:
        recipe: the recipe.
        calibrated: the network, calibrated for it, its biases not yet corrected.
        ranges: of its values.
        snr_db: mean compressed-spectrum SNR to float.
    """

    recipe: Recipe
    calibrated: CalibratedGraph
    ranges: dict[str, Range]
    snr_db: float


def needed_snr_db(quality_budget: float) -> float:
    """Compressed-spectrum SNR in dB at which about `quality_budget` PESQ-WB is lost."""
    return _ANCHOR_DB + _DB_PER_FACTOR_E * math.log(_ANCHOR_LOSS / quality_budget)


def split_clips(clips: CalibrationClips) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Noisy clips to calibrate with and others to judge by: other mixtures, or every fifth clip."""
    noisy = noisy_clips(clips)
    if not clips.noisy:
        return noisy, noisy_clips(clips, CALIBRATION_SEED + 1)
    return [clip for index, clip in enumerate(noisy) if index % 5], noisy[::5]


def choose_recipe(
    checkpoint: Checkpoint,
    calibration: Sequence[np.ndarray],
    judged: Sequence[np.ndarray],
    quality_budget: float,
    progress: Progress = lambda stage, done, total: None,
    make: Callable[[str], Recipe] = RECIPES.__getitem__,
) -> tuple[Candidate, list[tuple[str, float]]]:
    """Try candidates until one is within the budget.

    Args:
        checkpoint: the network.
        calibration: noisy clips to calibrate with, float32 [n] each.
        judged: other noisy clips, to judge by.
        quality_budget: PESQ-WB that may be lost.
        progress: told how far each stage is.
        make: recipe of a name.

    Returns:
        The first candidate within the budget, or the nearest to float if none is; and the name and
        SNR of every candidate tried.
    """
    length = min(JUDGED_SAMPLES, *(len(clip) for clip in judged[:JUDGED_CLIPS]))
    scene = Scene.of([clip[:length] for clip in judged[:JUDGED_CLIPS]], None)
    needed, tried = needed_snr_db(quality_budget), []
    with torch.no_grad():
        reference = scene.enhance(describe_step(checkpoint.architecture, checkpoint.model))

    @cache
    def calibrated(split: bool) -> CalibratedGraph:
        return calibrate_checkpoint(checkpoint, calibration, progress, None, split)

    for name in CANDIDATES:
        recipe = make(name)
        tried.append(_judge(recipe, calibrated(recipe.splits_activations), scene, reference))
        if tried[-1].snr_db >= needed:
            break
    else:
        tried.sort(key=lambda candidate: candidate.snr_db)
    reasons = [(candidate.recipe.name, candidate.snr_db) for candidate in tried]
    return tried[-1], reasons


@torch.no_grad()
def _judge(
    recipe: Recipe, calibrated: CalibratedGraph, scene: Scene, reference: torch.Tensor
) -> Candidate:
    """Measure a recipe; the calibrated graph is left as it was, for others to share."""
    graph, ranges = calibrated.graph, default_ranges(calibrated, recipe)
    biases = [op.inputs[2] for op in graph.operators if op.rule.weighted]
    before = [bias.constant for bias in biases]
    correct_biases(graph, recipe.choose, calibrated.statistics.input_means)
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    hook = FakeQuantizer(graph, encodings, recipe.choose)
    snr_db = float(compressed_snr(scene.enhance(graph, hook), reference).mean())
    for bias, constant in zip(biases, before, strict=True):
        bias.constant = constant
    return Candidate(recipe, calibrated, ranges, snr_db)
