"""The further networks of the family as INT8 files in the frame loop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_se import Enhancer
from quant.audio.frames import apply_mask, heard, synthesize
from quant.evaluation.metrics import snr
from quant.graph.encoding import assign_encodings
from quant.graph.execute import run_sequence
from quant.graph.recipes import find_recipe
from quant.graph.simulate import FakeQuantizer
from quant.networks.checkpoint import Checkpoint
from quant.networks.registry import DEFAULT, find_network
from quant.ptq.onnx_step import build_onnx
from quant.ptq.pipeline import (
    CalibratedGraph,
    build_float,
    build_quantized,
    calibrate_checkpoint,
    corrected,
    find_ranges,
)
from tests.helpers.running import at_every_level, randomize, write

NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "light causal": ("gtcrn_light", {"causal": True}, 0),
    "light delayed": ("gtcrn_light", {"causal": False}, 22),
    "unet mixed": ("gtcrn_unet", {"fusion": "mixed"}, 0),
    "ul_unas": ("ul_unas", {}, 0),
    "unet gated, interpolated": ("gtcrn_unet", {"fusion": "gated", "up_sampling_after": 2}, 0),
}


@dataclass(frozen=True)
class Built:
    """A random network, calibrated, and its INT8 file."""

    calibrated: CalibratedGraph
    path: Path
    lookahead: int


@pytest.fixture(scope="module", params=NETWORKS)
def built(request, noisy, tmp_path_factory) -> Built:
    architecture, options, lookahead = NETWORKS[request.param]
    network = randomize(find_network(architecture).create(**options), 0)
    recipe = find_recipe("int8", DEFAULT.recipes)
    with torch.no_grad():
        calibrated = calibrate_checkpoint(
            Checkpoint(network, find_network(architecture), "random", "", options),
            noisy[:2],
            at_every_level(recipe),
        )
        content = build_quantized(calibrated, recipe, find_ranges(calibrated, recipe), {})
    return Built(
        calibrated, write(tmp_path_factory.mktemp("int8"), "int8.tflite", content), lookahead
    )


@torch.no_grad()
def test_simulation_predicts_the_file(built, noisy):
    recipe, graph = find_recipe("int8", DEFAULT.recipes), built.calibrated.graph
    ranges = find_ranges(built.calibrated, recipe)
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    signal, late = noisy[3], built.lookahead * 256
    padded = torch.from_numpy(np.pad(signal, (0, late)))[None]
    heard_as = built.calibrated.signal
    spectra, inputs = heard(padded, heard_as)
    hook = FakeQuantizer(graph, encodings, recipe.choose)
    with corrected(built.calibrated, recipe, ranges):
        (mask,) = run_sequence(graph, {"features": inputs}, hook)
    delayed = synthesize(
        apply_mask(spectra, mask, heard_as, graph.lookahead), padded.shape[1], heard_as
    )[0].numpy()

    # Kernels round halves their own way, and recurrences carry such a step on.
    enhanced = Enhancer(built.path, stft="float").enhance(signal)
    assert snr(enhanced, delayed[late:]) > 18


def test_states_are_8_bits_and_start_anew(built, noisy):
    enhancer = Enhancer(built.path)

    first, again = enhancer.enhance(noisy[3]), enhancer.enhance(noisy[3])

    assert {state.dtype for state in enhancer.manifest.states} == {"int8"}
    np.testing.assert_array_equal(first, again)


def test_manifest_states_network_and_latency(built):
    manifest = Enhancer(built.path).manifest

    assert manifest.lookahead_frames == built.lookahead
    assert manifest.checkpoint.get("options", {}) == built.calibrated.checkpoint.options
    assert manifest.algorithmic_latency_ms == 32 + 16 * built.lookahead


@pytest.mark.parametrize("stft", ["float", None])
def test_frames_come_out_as_late_as_the_manifest_says(built, noisy, stft):
    enhancer = Enhancer(built.path, stft=stft)
    hop = enhancer.hop_size
    frames = noisy[3][: 40 * hop].reshape(-1, hop)

    enhancer.reset()
    streamed = np.concatenate([enhancer.process(frame.copy()) for frame in frames])

    latency = enhancer.latency_samples
    aligned = enhancer.enhance(frames.ravel())
    np.testing.assert_array_equal(streamed[latency:], aligned[: len(streamed) - latency])
    assert not np.abs(streamed[: built.lookahead * hop]).any()


def test_float_files_agree_between_formats(built, noisy, tmp_path):
    checkpoint = built.calibrated.checkpoint
    tflite = write(tmp_path, "step.tflite", build_float(checkpoint))
    onnx = write(tmp_path, "step.onnx", build_onnx(checkpoint))
    signal = noisy[3][:16000]

    enhanced = [Enhancer(path, stft="float").enhance(signal) for path in (tflite, onnx)]

    np.testing.assert_allclose(enhanced[0], enhanced[1], atol=1e-4)
