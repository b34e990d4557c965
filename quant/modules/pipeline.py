"""From somebody's own module to a model file, stage by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.audio.frames import apply_mask, heard, synthesize
from quant.graph.graph import Range
from quant.graph.recipes import Recipe
from quant.modules.calibration import EXACT_FRAMES, FloatFrame, exactness, observe
from quant.modules.export import Progress, export, lower, require_litert
from quant.modules.own import OwnModule
from quant.modules.quantizing import quantize_frame
from quant.modules.step_file import (
    Places,
    find_places,
    finished,
    float_scopes,
    layer_of,
    tied,
    with_names,
)
from quant.ptq.pipeline import signal_for
from quant.ptq.proof import require_finite, require_near, run_apart, snr_db, speech
from quant.ptq.ranges import RANGE_FUNCTIONS, require_known

ROUTE = "litert"  # what the manifest's recipe calls this route
NAMED_AT_MOST = 8


@dataclass(frozen=True)
class LoweredModule:
    """The exact float TFLite frame of a module, from which files of all precisions are made.

    Attributes:
        own: the module.
        content: of the float file, signals and states called by name.
        places: where they are.
        error: the largest one against the module.
        frame: the file in the interpreter.
    """

    own: OwnModule
    content: bytes
    places: Places
    error: float
    frame: FloatFrame = field(compare=False, repr=False)


@dataclass(frozen=True)
class MadeModule:
    """A model file of a module.

    Attributes:
        content: of the file.
        ranges: of its tensors; empty where none were needed.
        float_scopes: operators that stay float in it although they were to be quantized: how many
            of each kind, by layer.
        snr_db: of its output to the module's, on embedded speech.
    """

    content: bytes
    ranges: Mapping[str, Range]
    float_scopes: Mapping[str, Mapping[str, int]]
    snr_db: float


def lower_module(
    own: OwnModule, progress: Progress = lambda stage, done, total: None
) -> LoweredModule:
    """Convert a module's frame to TFLite, and compare the two over `EXACT_FRAMES` frames.

    Raises:
        UserError: it can't be exported or lowered, or is not exact.
    """
    require_litert()
    converted = lower(own, export(own), progress)
    places = find_places(converted, own)
    content = with_names(converted, places, own)
    frame = FloatFrame(content, places, own)
    error = exactness(frame, own, speech(own.signal.sample_rate))
    return LoweredModule(own, content, places, error, frame)


def make_module(
    lowered: LoweredModule,
    recipe: Recipe,
    noisy: Sequence[np.ndarray] = (),
    calibration: Mapping[str, Any] | None = None,
    progress: Progress = lambda stage, done, total: None,
    given: Mapping[str, Range] | None = None,
) -> MadeModule:
    """The model file of a module by a recipe, once it has run.

    Args:
        lowered: the module.
        recipe: precision of every operator.
        noisy: what ranges are made of, float32 [n] each; none for a recipe without.
        calibration: what the manifest says of the clips.
        progress: told how far each stage is.
        given: ranges in place of calibrated ones, by tensor.

    Raises:
        UserError: it can't be quantized or run.
    """
    own, details = lowered.own, dict(calibration or {})
    signal = signal_for(own.signal, recipe)
    require_operators(lowered, recipe)
    quality: dict[str, Any] = {"largest_error": lowered.error, "compared_frames": EXACT_FRAMES}
    ranges: dict[str, Range] = {}
    left: dict[str, dict[str, int]] = {}
    content = lowered.content
    if not recipe.is_float:
        if recipe.needs_ranges:
            ranges = _ranges(lowered, recipe, signal, noisy, details, progress)
            require_known(given or {}, ranges)
            ranges |= given or {}
        content = tied(quantize_frame(content, recipe, ranges), lowered.places)
        left = float_scopes(content) if recipe.is_static else {}
    finish = partial(
        finished,
        *(content, lowered.places, own, signal, recipe.name),
        recipe={**recipe.describe(), "route": ROUTE, "float": left},
        calibration=details,
    )
    samples = speech(signal.sample_rate)
    expected = enhanced(own, signal, samples)
    file = finish(quality=quality)
    found = run_apart(file, samples)
    if recipe.is_float:
        require_near(found, expected, rounded=False)
        return MadeModule(file, ranges, left, snr_db(found, expected))
    require_finite(found)
    snr = round(snr_db(found, expected), 2)
    return MadeModule(finish(quality={**quality, "snr_db": snr}), ranges, left, snr)


def _ranges(
    lowered: LoweredModule,
    recipe: Recipe,
    signal: Signal,
    noisy: Sequence[np.ndarray],
    details: dict[str, Any],
    progress: Progress,
) -> dict[str, Range]:
    """Ranges of all tensors by the recipe's method, on noisy clips."""
    told = partial(progress, "calibration")
    statistics = observe(lowered.frame, lowered.own, signal, noisy, told)
    details["frames"] = statistics.frames
    return RANGE_FUNCTIONS[recipe.ranges](statistics, ())


def require_operators(lowered: LoweredModule, recipe: Recipe) -> None:
    """Raise UserError where a pattern of a recipe names no operator of a module."""
    override = recipe.unmatched(lowered.frame.tensors)
    if override is not None:
        layers = sorted({layer_of(name) for name in lowered.frame.tensors})[:NAMED_AT_MOST]
        raise UserError(
            f"the pattern {override.pattern!r} of the recipe {recipe.name} matches no operator "
            f"of {lowered.own.architecture}; its layers are {', '.join(layers)}"
        )


@torch.no_grad()
def enhanced(own: OwnModule, signal: Signal, samples: np.ndarray) -> np.ndarray:
    """What the module makes of samples (float32 [n]), as the frame loop would: float32 [n]."""
    spectra, features = heard(torch.from_numpy(samples)[None], signal)
    masks, _ = own.run(features[0])
    result: np.ndarray = synthesize(apply_mask(spectra, masks[None], signal), len(samples), signal)[
        0
    ].numpy()
    return result
