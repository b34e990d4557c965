"""Engines for networks: which arithmetics there are, and what each is made from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from calib_data import clips_folder
from edge_se.engines.generated import ARITHMETICS, RECIPES
from edge_se.errors import UserError
from edge_se.model_file import attach_manifest, manifest_of, split
from quant.audio.clips import read_calibration_clips
from quant.c.engine import Engine
from quant.c.fixed_engine import FixedEngine
from quant.c.float_engine import FloatEngine
from quant.c.int8_engine import Int8Engine
from quant.c.layers import Layer
from quant.c.lowering import lower
from quant.graph.encoding import Encoding, Precision, assign_encodings
from quant.graph.graph import Operator, Range, Value
from quant.graph.recipes import Recipe, find_recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.bias_correction import corrected_biases
from quant.ptq.pipeline import (
    CalibratedGraph,
    Progress,
    build_quantized,
    calibrate_checkpoint,
    find_ranges,
    noisy_clips,
    signal_for,
)


def make_engine(
    checkpoint: Checkpoint,
    arithmetic: str,
    noisy: Sequence[np.ndarray] | None,
    progress: Progress,
    keep_level: bool = False,
) -> Engine:
    """An engine and a network's weights for it.

    Args:
        checkpoint: the network.
        arithmetic: a name of `ARITHMETICS`.
        noisy: what the others than "float" are calibrated with, float32 [n] each; None for the
            embedded clips.
        progress: told how far each stage of the calibration is.
        keep_level: leave out the front end.

    Raises:
        UserError: there is no such arithmetic, or no engine for this network.
    """
    if arithmetic not in ARITHMETICS:
        raise UserError(
            f"unknown arithmetic {arithmetic!r}; choose one of: {', '.join(ARITHMETICS)}"
        )
    # What no kernels serve is found before minutes of calibration.
    recipe = find_recipe(RECIPES[arithmetic])
    if keep_level:
        recipe = replace(recipe, level_dbfs=None)
    engine = _in_float(checkpoint, recipe, arithmetic)
    if arithmetic == "float":
        return engine
    if noisy is None:
        noisy = noisy_clips(read_calibration_clips(clips_folder(), checkpoint.signal.sample_rate))
    calibrated = calibrate_checkpoint(checkpoint, noisy, recipe, progress)
    ranges = find_ranges(calibrated, recipe)
    if arithmetic == "fixed":
        return fixed_engine(calibrated, recipe, ranges)
    return int8_engine(build_quantized(calibrated, recipe, ranges, {}))


def float_engine(checkpoint: Checkpoint, recipe: Recipe) -> Engine:
    """The engine in float, its front end the recipe's.

    Raises:
        UserError: there is none for this network.
    """
    return _in_float(checkpoint, recipe, "float")


def _in_float(checkpoint: Checkpoint, recipe: Recipe, asked: str) -> Engine:
    signal = signal_for(checkpoint.signal, recipe)
    try:
        return FloatEngine(
            *(lower(checkpoint.step()), signal, checkpoint.architecture),
            checkpoint.sha256,
        )
    except ValueError as error:
        raise _unserved(asked, error) from error


def fixed_engine(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: Mapping[str, Range]
) -> Engine:
    """The engine in integers; raises UserError where there is none for this network."""
    checkpoint = calibrated.checkpoint
    try:
        layers, encodings = fixed_layers(calibrated, recipe, ranges)
        return FixedEngine(
            *(layers, calibrated.signal, checkpoint.architecture, checkpoint.sha256),
            encodings,
        )
    except ValueError as error:
        raise _unserved("fixed", error) from error


def int8_engine(content: bytes) -> Engine:
    """The engine that computes what an 8-bit model file does, to the bit.

    Args:
        content: of the model file, with its manifest.

    Raises:
        UserError: there is none for this file.
    """
    try:
        return Int8Engine(split(content)[0], manifest_of(content, "the model file"))
    except ValueError as error:
        raise UserError(
            f"no int8 C engine can be generated for this file: {error}; it takes a GTCRN "
            f"or a UL-UNAS that edge-se quantize --precision {RECIPES['int8']} made"
        ) from error


def with_weights(content: bytes, make: Callable[[], Engine]) -> bytes:
    """A model file with weights for the C engine, where there is one for its network."""
    try:
        engine = make()
    except UserError:
        return content
    manifest = manifest_of(content, "the model file")
    return attach_manifest(content, manifest, {engine.arithmetic: engine.blob})


def fixed_layers(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: Mapping[str, Range]
) -> tuple[list[Layer], dict[Value, Encoding]]:
    """A network's layers, equalized, biases corrected, and the 16-bit encodings of their values."""
    graph, means = calibrated.graph, calibrated.statistics.input_means
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)

    def of_weights(operator: Operator) -> Precision:
        # Bands have no biases, by which rounding could be made up for.
        bands = operator.scope.startswith(("merge.", "split."))
        return Precision.FLOAT if bands else recipe.choose(operator)

    with corrected_biases(graph, of_weights, means):
        return lower(graph), encodings


def _unserved(arithmetic: str, error: ValueError) -> UserError:
    return UserError(
        f"no {arithmetic} C engine can be generated for this network: {error}; there are engines "
        "for a GTCRN with windows of 512 samples and 16 channels, as upstream trains it, and for "
        "UL-UNAS"
    )
