"""From checkpoint and clips to model files: exact in float, integers throughout in INT8."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor

from edge_se import Enhancer
from edge_se.engines.tflite import TfliteStep
from edge_se.model_file import read_manifest
from quant.audio.frames import analyse, apply_mask, features, synthesize
from quant.graph.encoding import assign_encodings
from quant.graph.execute import initial_states, run_sequence, run_step
from quant.graph.recipes import find_recipe
from quant.graph.simulate import FakeQuantizer
from quant.graph.tflite import write_tflite
from quant.networks.checkpoint import Checkpoint
from quant.networks.gtcrn.model import SIGNAL, MaskingNetwork
from quant.networks.registry import DEFAULT
from quant.ptq.pipeline import (
    CalibratedGraph,
    build_float,
    build_quantized,
    calibrate_checkpoint,
    corrected,
    find_ranges,
    noisy_clips,
)
from quant.ptq.ranges import extreme_ranges
from tests.helpers.running import PLAIN, at_every_level, masks, run_tflite, snr_db, write

# 16-bit activations run on TFLite's reference kernels.
pytestmark = pytest.mark.filterwarnings("ignore:XNNPACK took none")

QUANTIZED = ("int8", "int16x8", "dynamic")
STORED = {
    "float": "float32",
    "dynamic": "float32",
    "int8": "int8",
    "int16x8": "int16",
}


def quantized_file(calibrated: CalibratedGraph, precision: str, calibration=None) -> bytes:
    recipe = find_recipe(precision, DEFAULT.recipes)
    ranges = find_ranges(calibrated, recipe)
    return build_quantized(calibrated, recipe, ranges, calibration or {})


@torch.no_grad()
def offline_masks(checkpoint: Checkpoint, frames: Tensor) -> np.ndarray:
    """The network's masks of one clip, [frames, 2, 257]."""
    assert isinstance(checkpoint.model, MaskingNetwork)
    return checkpoint.model.mask(frames.transpose(1, 2))[0].transpose(0, 1).numpy()


@pytest.fixture
def float_file(default_checkpoint, tmp_path) -> Path:
    return write(tmp_path, "f.tflite", build_float(default_checkpoint))


@pytest.fixture(params=QUANTIZED)
def quantized(request, calibrated, tmp_path) -> Path:
    """Model files of the embedded network in each precision in turn."""
    content = quantized_file(calibrated, request.param, {"clips": 6})
    return write(tmp_path, f"{request.param}.tflite", content)


def test_float_tflite_equals_torch(default_checkpoint, float_file, frames):
    assert frames.shape[1] >= 200

    result = masks(TfliteStep(float_file), frames[0].numpy())

    np.testing.assert_allclose(result, offline_masks(default_checkpoint, frames), atol=1e-4)


def test_float_tflite_equals_torch_for_the_official_networks(official, frames, tmp_path):
    path = write(tmp_path, "float.tflite", build_float(official))

    result = masks(TfliteStep(path), frames[0].numpy())

    np.testing.assert_allclose(result, offline_masks(official, frames), atol=1e-4)


@torch.no_grad()
def test_enhanced_samples_equal_those_of_whole_clips_in_torch(
    default_checkpoint, float_file, noisy
):
    samples = torch.from_numpy(noisy[0])[None]
    spectra = analyse(samples, SIGNAL)
    mask = default_checkpoint.model.mask(features(spectra, SIGNAL).transpose(1, 2)).transpose(1, 2)
    expected = synthesize(apply_mask(spectra, mask, SIGNAL), samples.shape[1], SIGNAL)[0].numpy()

    result = Enhancer(float_file).enhance(noisy[0])

    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_runs_from_reset_states_are_bit_identical(quantized, frames):
    step = TfliteStep(quantized)

    first, second = (masks(step, frames[0, :30].numpy()) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_signals_and_states_are_stored_as_the_precision_says(quantized):
    manifest = read_manifest(quantized)

    signals = (manifest.tensors.features, manifest.tensors.mask)
    dtypes = {tensor.dtype for tensor in signals} | {state.dtype for state in manifest.states}
    assert manifest.precision == quantized.stem
    assert dtypes == {STORED[quantized.stem]}


def test_states_have_one_scale_in_and_out_of_the_file(quantized):
    interpreter = Interpreter(model_path=str(quantized), num_threads=1)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}

    for state in read_manifest(quantized).states:
        before, after = details[state.input], details[state.output]
        scale = (pytest.approx(state.scale), state.zero_point)
        assert before["quantization"] == after["quantization"] == scale


def test_int8_has_no_float_inside(calibrated, tmp_path):
    path = write(tmp_path, "int8.tflite", quantized_file(calibrated, "int8"))
    interpreter = Interpreter(model_path=str(path), num_threads=1)

    dtypes = {np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}

    # 32-bit integers are biases and shapes.
    assert dtypes == {"int8", "int32"}


def test_the_file_says_what_it_was_made_from(quantized, default_checkpoint):
    manifest = read_manifest(quantized)

    assert manifest.checkpoint == {
        "name": default_checkpoint.name,
        "sha256": default_checkpoint.sha256,
    }
    assert manifest.recipe["name"] == quantized.stem
    assert manifest.calibration == {"clips": 6}
    assert manifest.tools["torch"] == torch.__version__


@pytest.mark.parametrize("precision", QUANTIZED)
def test_the_same_inputs_give_the_same_bytes(default_checkpoint, noisy, precision):
    files = [
        quantized_file(calibrate_checkpoint(default_checkpoint, noisy[:2], PLAIN), precision)
        for _ in range(2)
    ]

    assert files[0] == files[1]


@pytest.mark.parametrize("precision", ["int16x8", "dynamic"])
def test_precisions_with_float_like_activations_are_close_to_float(
    default_checkpoint, calibrated, frames, tmp_path, precision
):
    path = write(tmp_path, "model.tflite", quantized_file(calibrated, precision))

    result = masks(TfliteStep(path), frames[0].numpy())

    expected = offline_masks(default_checkpoint, frames)
    assert snr_db(frames[0].numpy(), expected, result) > 20


@torch.no_grad()
def test_equalized_network_is_the_same(default_checkpoint, calibrated, frames):
    (result,) = run_sequence(calibrated.graph, {"features": frames})

    np.testing.assert_allclose(result[0], offline_masks(default_checkpoint, frames), atol=1e-4)


@torch.no_grad()
def test_simulation_predicts_the_int8_file_from_the_same_frames_and_states(
    default_checkpoint, noisy, frames
):
    recipe = find_recipe("int8", DEFAULT.recipes)
    calibrated = calibrate_checkpoint(default_checkpoint, noisy, at_every_level(recipe))
    ranges, graph = find_ranges(calibrated, recipe), calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    rounding = FakeQuantizer(graph, encodings, recipe.choose)
    simulated = {}

    def hook(value, tensor):
        simulated[value] = rounding(value, tensor)
        return simulated[value]

    outcomes = []
    with corrected(calibrated, recipe, ranges):
        written = write_tflite(graph, encodings, recipe.choose)
        states = initial_states(graph, 1)
        for frame in frames[0, 40:140, None]:
            (predicted,), after = run_step(graph, {"features": frame}, states, hook)
            given = {value: simulated[value][0].numpy() for value in graph.fed}
            given |= {state.input: states[state.name][0].numpy() for state in graph.states}
            (found,) = run_tflite(written, given, graph.outputs)
            outcomes.append((found, predicted[0].numpy()))
            states = after

    spoken = frames[0, 40:140].numpy()
    assert snr_db(spoken, *(np.stack(part) for part in zip(*outcomes, strict=True))) > 30


@torch.no_grad()
def test_simulation_predicts_what_the_int8_file_makes_of_a_clip(calibrated, frames, tmp_path):
    recipe = find_recipe("int8", DEFAULT.recipes)
    ranges = find_ranges(calibrated, recipe)
    path = write(tmp_path, "int8.tflite", build_quantized(calibrated, recipe, ranges, {}))
    graph = calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.default)
    hook = FakeQuantizer(graph, encodings, recipe.choose)

    with corrected(calibrated, recipe, ranges):
        (predicted,) = run_sequence(graph, {"features": frames}, hook)

    # Steps that one of both rounds otherwise are carried on in the states: how far depends on the
    # network (26.8 dB of the one embedded before, 21.8 of this one).
    result = masks(TfliteStep(path), frames[0].numpy())
    assert snr_db(frames[0].numpy(), result, predicted[0].numpy()) > 18


@torch.no_grad()
def test_every_int8_operator_is_at_most_one_step_off_its_simulation(calibrated, frames):
    """Frame 40 in TFLite, operator by operator, each on what the ones before it gave."""
    graph, recipe = calibrated.graph, find_recipe("int8", DEFAULT.recipes)
    ranges = find_ranges(calibrated, recipe)
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.default)
    simulation = FakeQuantizer(graph, encodings, recipe.choose)
    states = initial_states(graph)
    for frame in frames[:, :40].unbind(dim=1):
        _, states = run_step(graph, {"features": frame}, states, simulation)
    given = {graph.inputs[0]: frames[0, 40].numpy()}
    given |= {state.input: states[state.name][0].numpy() for state in graph.states}
    graph.outputs = [value for operator in graph.operators for value in operator.outputs]
    written = write_tflite(graph, encodings, recipe.choose)
    stored = dict(zip(graph.outputs, run_tflite(written, given, graph.outputs), strict=True))
    steps_off = {}

    def compare(value, tensor):
        simulated = simulation(value, tensor)
        if value not in stored:
            return simulated
        difference = np.abs(simulated[0].numpy() - stored[value]) / encodings[value].scale
        steps_off[value.name] = float(difference.max())
        return torch.from_numpy(stored[value])[None]

    run_step(graph, {"features": frames[:, 40]}, states, compare)

    assert len(steps_off) == len(graph.outputs)
    assert {name: off for name, off in steps_off.items() if off > 1.01} == {}


def test_default_ranges_of_16_bits_are_the_extremes(calibrated):
    ranges = find_ranges(calibrated, find_recipe("int16x8", DEFAULT.recipes))

    assert ranges == extreme_ranges(calibrated.statistics)


def test_saturation_is_observed_where_ranges_are_taken_of_it(default_checkpoint, noisy, calibrated):
    stages = []

    def told(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    recipe = replace(PLAIN, ranges="min-max")
    plain = calibrate_checkpoint(default_checkpoint, noisy[:1], recipe, told)

    assert calibrated.statistics.saturated
    assert not plain.statistics.saturated and "saturation" not in stages


def test_noisy_clips_are_taken_as_they_are_and_others_mixed(noisy):
    from quant.audio.clips import CalibrationClips, Clip

    clips = tuple(Clip(Path(f"{index}.wav"), samples, 16000) for index, samples in enumerate(noisy))

    as_they_are = noisy_clips(CalibrationClips(noisy=clips))
    mixed = noisy_clips(CalibrationClips(clean=clips[:4], noise=clips[4:]))

    assert all(a is b for a, b in zip(as_they_are, noisy, strict=True))
    assert [len(samples) for samples in mixed] == [len(samples) for samples in noisy[:4]]
    assert not any(np.array_equal(a, b) for a, b in zip(mixed, noisy[:4], strict=True))
