"""From a checkpoint and calibration clips to a model file, stage by stage.

checkpoint -> graph of one frame -> equalization -> calibration -> ranges -> bias correction ->
TFLite with its manifest. Each stage can be used alone; this module only strings them together.
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_se.manifest import Manifest, Signals, StateSpec, TensorSpec
from edge_se.model_file import attach_manifest
from quant.bias_correction import correct_biases
from quant.calibration import Statistics, calibrate
from quant.clips import CalibrationClips
from quant.equalization import ScaleClasses, choose_scales, equalize
from quant.graph.encoding import DTYPES, FLOAT, Encoding, Precision, assign_encodings
from quant.graph.graph import Graph, Range, Value
from quant.graph.tflite import WrittenModel, write_tflite
from quant.mixing import calibration_mixtures
from quant.models.checkpoint import Checkpoint
from quant.models.gtcrn import HOP, SAMPLE_RATE, WINDOW
from quant.ranges import GTCRN_RULES, extreme_ranges, percentile_ranges
from quant.recipes import Recipe
from quant.streaming import describe_step

CALIBRATION_SEED = 0
# Names of distributions whose versions decide the file's content.
TOOLS = ("edge-se", "torch", "numpy", "ai-edge-litert", "flatbuffers")

# Told the name of a stage, and how many of its clips are done out of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CalibratedGraph:
    """One frame of a network, equalized, and the statistics of its values."""

    checkpoint: Checkpoint
    graph: Graph
    statistics: Statistics


def noisy_clips(clips: CalibrationClips, seed: int = CALIBRATION_SEED) -> list[np.ndarray]:
    """What the network hears during calibration: the noisy clips, or mixtures made of the others.

    Returns:
        Samples at 16 kHz, float32 [n] each.
    """
    if clips.noisy:
        return [clip.samples for clip in clips.noisy]
    clean = [clip.samples for clip in clips.clean]
    noise = [clip.samples for clip in clips.noise]
    return [mixture.noisy for mixture in calibration_mixtures(clean, noise, seed)]


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    noisy: Sequence[np.ndarray],
    progress: Progress = lambda stage, done, total: None,
) -> CalibratedGraph:
    """Equalize the network's step and collect the statistics of the equalized one."""
    graph = describe_step(checkpoint.architecture, checkpoint.model)
    classes = ScaleClasses(graph)
    before = calibrate(
        graph, noisy, classes, lambda done, total: progress("equalization", done, total)
    )
    equalize(graph, classes, choose_scales(classes, before.magnitudes))
    after = calibrate(
        graph, noisy, progress=lambda done, total: progress("calibration", done, total)
    )
    return CalibratedGraph(checkpoint, graph, after)


def default_ranges(calibrated: CalibratedGraph, recipe: Recipe) -> dict[str, Range]:
    """Percentiles where values have 8 bits; 16 bits have room for the extremes."""
    if recipe.default is Precision.INT16:
        return extreme_ranges(calibrated.statistics)
    return percentile_ranges(calibrated.statistics, GTCRN_RULES)


def build_float(checkpoint: Checkpoint, recipe: Recipe) -> bytes:
    """The float model file: the step as it is, nothing calibrated."""
    graph = describe_step(checkpoint.architecture, checkpoint.model)
    return _build(checkpoint, graph, recipe, {}, {})


def build_quantized(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    calibration: Mapping[str, Any],
) -> bytes:
    """The quantized model file; biases of the calibrated graph are corrected for the recipe.

    Args:
        calibrated: the network and its statistics; it is used up by its bias correction.
        recipe: precision of every operator.
        ranges: of the values below float precision.
        calibration: what the manifest says of the clips.
    """
    correct_biases(calibrated.graph, recipe.choose, calibrated.statistics.input_means)
    return _build(calibrated.checkpoint, calibrated.graph, recipe, ranges, calibration)


def _build(
    checkpoint: Checkpoint,
    graph: Graph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    calibration: Mapping[str, Any],
) -> bytes:
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.default)
    written = write_tflite(graph, encodings, recipe.choose)
    (features,), (mask,) = graph.inputs, graph.outputs
    manifest = Manifest(
        architecture=checkpoint.architecture,
        precision=recipe.name,
        sample_rate=SAMPLE_RATE,
        window=WINDOW,
        hop=HOP,
        signals=Signals(_tensor(written, features, encodings), _tensor(written, mask, encodings)),
        states=tuple(
            StateSpec(
                name=state.name,
                shape=state.input.shape,
                dtype=DTYPES[encodings[state.input].precision],
                scale=encodings[state.input].scale,
                zero_point=encodings[state.input].zero_point,
                reset_value=0.0,
                input=written.tensors[state.input],
                output=written.tensors[state.output],
            )
            for state in graph.states
        ),
        checkpoint={"name": checkpoint.name, "sha256": checkpoint.sha256},
        recipe=recipe.describe(),
        calibration=dict(calibration),
        tools=_tool_versions(),
    )
    return attach_manifest(written.content, manifest)


def _tensor(written: WrittenModel, value: Value, encodings: Mapping[Value, Encoding]) -> TensorSpec:
    encoding = encodings.get(value, FLOAT)
    return TensorSpec(
        tensor=written.tensors[value],
        shape=value.shape,
        dtype=DTYPES[encoding.precision],
        scale=encoding.scale,
        zero_point=encoding.zero_point,
    )


def _tool_versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in TOOLS}
    return {"python": platform.python_version(), **versions}
