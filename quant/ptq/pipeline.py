"""From a checkpoint and calibration clips to a model file, stage by stage.

checkpoint -> graph of one frame -> equalization -> calibration -> ranges -> bias correction ->
TFLite with its manifest. Each stage can be used alone; this module only strings them together.
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from edge_se.engines import fixed_path
from edge_se.manifest import Manifest, StateSpec, Tensors, TensorSpec
from edge_se.model_file import attach_manifest
from edge_se.signal import Signal
from quant.audio.clips import CalibrationClips
from quant.audio.frames import heard_in_calibration
from quant.audio.mixing import calibration_mixtures, level_dbfs
from quant.graph.encoding import DTYPES, FLOAT, Encoding, assign_encodings
from quant.graph.execute import initial_states, run_step
from quant.graph.graph import Graph, Range, Value
from quant.graph.range_rules import RangeRule
from quant.graph.recipes import RECIPES, Recipe
from quant.graph.scale_classes import ScaleClasses
from quant.graph.simulate import FakeQuantizer
from quant.graph.tflite import WrittenModel, write_tflite
from quant.networks.checkpoint import Checkpoint
from quant.ptq.bias_correction import corrected_biases, rounding_shifts
from quant.ptq.calibration import Statistics, batches, calibrate
from quant.ptq.equalization import choose_scales, equalize
from quant.ptq.proof import prove, prove_against_torch, require_near, run_apart, simulated, speech
from quant.ptq.ranges import RANGE_FUNCTIONS, cut_to_rectified_sums, percentile_ranges

CALIBRATION_SEED = 0
QUIETEST_DBFS = -40.0  # of noisy clips that ranges are made from
# What the shifts of rounding are measured on: so many clips, each so long at most.
SHIFT_CLIPS, SHIFT_SAMPLES = 8, 48000
# Names of distributions whose versions decide the file's content.
TOOLS = ("edge-se", "torch", "numpy", "ai-edge-litert", "flatbuffers")

# Told the name of a stage, and how many of its clips are done out of how many.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EqualizedStep:
    """One frame of a network whose channels are rescaled, and by how much."""

    graph: Graph
    classes: ScaleClasses
    scales: dict[int, float]


@dataclass(frozen=True)
class CalibratedGraph:
    """One frame (or window) of a network, equalized, and the statistics of its values.

    Attributes:
        checkpoint: the network.
        graph: its equalized step.
        statistics: of the step's values.
        signal: what the step hears, at which level.
        clips: noisy samples by which biases make up for rounded values, float32 [n] each; none
            where they are not to.
    """

    checkpoint: Checkpoint
    graph: Graph
    statistics: Statistics
    signal: Signal
    clips: tuple[np.ndarray, ...] = ()


def noisy_clips(clips: CalibrationClips, seed: int = CALIBRATION_SEED) -> list[np.ndarray]:
    """What the network hears during calibration: the noisy clips, or mixtures made of the others.

    Returns:
        Samples, float32 [n] each.
    """
    if clips.noisy:
        return [_loud_enough(clip.samples) for clip in clips.noisy]
    clean = [clip.samples for clip in clips.clean]
    noise = [clip.samples for clip in clips.noise]
    return [mixture.noisy for mixture in calibration_mixtures(clean, noise, seed)]


def _loud_enough(samples: np.ndarray) -> np.ndarray:
    """Samples brought up to `QUIETEST_DBFS`, as far as their peak allows.

    Quieter ones would give ranges so narrow that no runtime can hold them in 8 bits.
    """
    missing = 10 ** ((QUIETEST_DBFS - level_dbfs(samples)) / 20)
    gain = min(missing, 1 / float(np.abs(samples).max()))
    return samples if gain <= 1 else samples * np.float32(gain)


def signal_for(network_signal: Signal, recipe: Recipe) -> Signal:
    """What a network hears in a file that is made by a recipe."""
    if recipe.level_dbfs is None:
        return replace(network_signal, level_dbfs=None)
    return replace(network_signal, level_dbfs=recipe.level_dbfs, front_end="follow")


def calibrate_checkpoint(
    checkpoint: Checkpoint,
    noisy: Sequence[np.ndarray],
    recipe: Recipe,
    progress: Progress = lambda stage, done, total: None,
) -> CalibratedGraph:
    """Equalize the network's step and collect the statistics of the equalized one.

    Args:
        checkpoint: the network.
        noisy: what it hears, float32 [n] each at its rate.
        recipe: says at which level it hears that, whether the step is described as 8 bits hold it
            better, and how ranges will be chosen; any recipe that agrees in these will do.
        progress: told how far each stage is.
    """
    signal = signal_for(checkpoint.signal, recipe)
    # Constants remember whether they depend on parameters, by which recovery knows what to train.
    with torch.enable_grad():
        step = equalized_step(checkpoint.step(recipe.splits), noisy, signal, progress)
    graph = step.graph
    graph.detach()
    by_percentile = recipe.needs_ranges and recipe.ranges == "percentile"
    rules = checkpoint.network.range_rules if by_percentile else ()
    statistics = statistics_for(rules, graph, noisy, signal, progress)
    clips = clips_for_shifts(noisy)
    return CalibratedGraph(checkpoint, graph, statistics, signal, clips=clips)


def clips_for_shifts(noisy: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """What the shifts of rounding are measured on: some noisy clips, none of them long."""
    return tuple(clip[:SHIFT_SAMPLES] for clip in noisy[:SHIFT_CLIPS])


def equalized_step(
    graph: Graph,
    noisy: Sequence[np.ndarray],
    signal: Signal,
    progress: Progress = lambda stage, done, total: None,
) -> EqualizedStep:
    """Rescale the channels of a frame, in place, by the size that they have on noisy clips.

    Args:
        graph: the frame as it was described.
        noisy: what it hears, float32 [n] each.
        signal: how it hears that.
        progress: told how far the stage is.
    """
    classes = ScaleClasses(graph)
    told = partial(progress, "equalization")
    magnitudes = calibrate(graph, noisy, signal, classes, told).magnitudes
    scales = choose_scales(classes, magnitudes)
    equalize(graph, classes, scales)
    return EqualizedStep(graph, classes, scales)


def statistics_for(
    rules: Sequence[RangeRule],
    graph: Graph,
    noisy: Sequence[np.ndarray],
    signal: Signal,
    progress: Progress = lambda stage, done, total: None,
) -> Statistics:
    """What the rules for ranges need to know of a graph's values.

    Args:
        rules: for the ranges; none for ranges that follow no rules.
        graph: the frame, in float.
        noisy: what it hears, float32 [n] each.
        signal: how it hears that.
        progress: told how far each stage is.
    """

    def observe(stage: str, limits: Mapping[str, Range] | None) -> Statistics:
        return calibrate(graph, noisy, signal, None, partial(progress, stage), limits)

    statistics = observe("calibration", None)
    if any(rule.saturated for rule in rules):
        limits = percentile_ranges(statistics, rules)
        statistics.saturated = observe("saturation", limits).samples
    return statistics


def find_ranges(calibrated: CalibratedGraph, recipe: Recipe) -> dict[str, Range]:
    """Ranges by the recipe's method, as the graph's values are read."""
    rules = calibrated.checkpoint.network.range_rules
    found = RANGE_FUNCTIONS[recipe.ranges](calibrated.statistics, rules)
    return cut_to_rectified_sums(calibrated.graph, found)


def build_float(checkpoint: Checkpoint, recipe: Recipe = RECIPES["float"]) -> bytes:
    """The float model file: the frame, or a separator's window, as it is; nothing calibrated."""
    signal = signal_for(checkpoint.signal, recipe)
    plain = CalibratedGraph(checkpoint, checkpoint.graph(), Statistics(), signal)
    return build(plain, recipe, {}, {})


def build_quantized(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    calibration: Mapping[str, Any],
) -> bytes:
    """The quantized model file, its biases corrected for the recipe.

    Args:
        calibrated: the network and its statistics; left as it was.
        recipe: precision of every operator.
        ranges: of the values below float precision.
        calibration: what the manifest says of the clips.
    """
    with corrected(calibrated, recipe, ranges):
        return build(calibrated, recipe, ranges, calibration)


def build_proven(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    calibration: Mapping[str, Any],
) -> bytes:
    """As `build_quantized`, once the file has run and put out what its simulation does.

    Raises:
        UserError: it can't be run, or puts out something else.
    """
    signal = calibrated.signal
    samples = calibrated.clips[0] if calibrated.clips else speech(signal.sample_rate)
    with corrected(calibrated, recipe, ranges):
        content = build(calibrated, recipe, ranges, calibration)
        hook = simulate(calibrated, recipe, ranges)
        expected = simulated(calibrated.graph, signal, samples, hook)
    unrounded = partial(simulated, calibrated.graph, signal, samples)
    prove(content, samples, expected, rounded=True, unrounded=unrounded)
    return content


def build_proven_float(checkpoint: Checkpoint, recipe: Recipe) -> bytes:
    """As `build_float`, once the file has run and puts out what torch does.

    Raises:
        UserError: it can't be run, or puts out something else.
    """
    content = build_float(checkpoint, recipe)
    if checkpoint.network.separates:
        found = run_apart(content, speech(checkpoint.signal.sample_rate))
        graph = checkpoint.graph()
        (window,) = graph.inputs
        ones = torch.ones(1, *window.shape)
        (mask,), _ = run_step(graph, {window.name: ones}, initial_states(graph, 1))
        require_near(found, mask[0].detach().numpy(), rounded=False)
    else:
        prove_against_torch(content, checkpoint, signal_for(checkpoint.signal, recipe))
    return content


def corrected(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: Mapping[str, Range]
) -> AbstractContextManager[None]:
    """Correct the graph's biases within the block for what a recipe rounds."""
    means = calibrated.statistics.input_means
    shifts = measure_shifts(calibrated, recipe, ranges)
    return corrected_biases(calibrated.graph, recipe.choose, means, shifts)


def measure_shifts(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: Mapping[str, Range]
) -> dict[Value, torch.Tensor]:
    """What rounding values shifts weighted operators' inputs by, on the graph's own clips."""
    if not calibrated.clips or not recipe.needs_ranges:
        return {}
    features = (
        heard_in_calibration(clips, calibrated.signal) for clips in batches(calibrated.clips)
    )
    return rounding_shifts(calibrated.graph, simulate(calibrated, recipe, ranges), features)


def build(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    calibration: Mapping[str, Any],
) -> bytes:
    """The model file of the graph as it is; see `build_quantized`."""
    checkpoint, graph = calibrated.checkpoint, calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    written = write_tflite(graph, encodings, recipe.choose)
    (features,), (mask,) = graph.fed, graph.outputs
    manifest = Manifest(
        architecture=checkpoint.architecture,
        precision=recipe.name,
        signal=calibrated.signal,
        chunk=checkpoint.chunk,
        lookahead_frames=graph.lookahead,
        bands=graph.bands,
        tensors=Tensors(_tensor(written, features, encodings), _tensor(written, mask, encodings)),
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
        checkpoint=checkpoint.describe(),
        recipe=recipe.describe(),
        calibration=dict(calibration),
        tools=tool_versions(TOOLS),
    )
    # In integers where they can be: it costs less in the core.
    if manifest.chunk is None and fixed_path.serves(manifest):
        manifest = replace(manifest, stft="fixed")
    return attach_manifest(written.content, manifest)


def simulate(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: Mapping[str, Range]
) -> FakeQuantizer:
    """The rounding of the file that `build` would give, as a hook for `quant.graph.execute`."""
    graph = calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    return FakeQuantizer(graph, encodings, recipe.choose)


def _tensor(written: WrittenModel, value: Value, encodings: Mapping[Value, Encoding]) -> TensorSpec:
    encoding = encodings.get(value, FLOAT)
    return TensorSpec(
        tensor=written.tensors[value],
        shape=value.shape,
        dtype=DTYPES[encoding.precision],
        scale=encoding.scale,
        zero_point=encoding.zero_point,
    )


def tool_versions(names: Sequence[str]) -> dict[str, str]:
    """Versions of what decides a file's content."""
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), **versions}
