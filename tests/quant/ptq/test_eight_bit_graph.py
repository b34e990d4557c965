"""What is done for 8 bits' sake changes nothing in float, and mixed files compute as predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.model_file import read_manifest
from quant.audio.clips import read_calibration_clips
from quant.audio.frames import analyse, apply_mask, features, front_end, heard, synthesize
from quant.audio.mixing import calibration_mixtures
from quant.graph.encoding import assign_encodings
from quant.graph.execute import run_sequence
from quant.graph.recipes import find_recipe
from quant.graph.simulate import FakeQuantizer
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.registry import DEFAULT, find_network
from quant.ptq.pipeline import build_quantized, calibrate_checkpoint, corrected, find_ranges
from tests.helpers.running import PLAIN


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Two seconds of noisy speech."""
    clips = read_calibration_clips(clips_folder(), 16000)
    clean = [clip.samples for clip in clips.clean[:1]]
    noise = [clip.samples for clip in clips.noise[:1]]
    return calibration_mixtures(clean, noise, 0, (10.0,), (-28.0,))[0].noisy[:32000]


def snr_db(signal: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10((reference**2).sum() / ((signal - reference) ** 2).sum()))


@torch.no_grad()
def test_the_split_step_computes_the_same(default_checkpoint, clip):
    inputs = {"features": features(analyse(torch.from_numpy(clip)[None], SIGNAL), SIGNAL)}
    model = default_checkpoint.model

    (plain,) = run_sequence(find_network("gtcrn").step(model), inputs)
    (split,) = run_sequence(find_network("gtcrn").step(model, split=True), inputs)

    torch.testing.assert_close(split, plain, atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("precision", ["int8", "int8_float_ends", "int8_float_coders"])
@pytest.mark.parametrize("level_dbfs", [None, -40.0])
def test_the_file_computes_as_simulated(default_checkpoint, clip, tmp_path, precision, level_dbfs):
    recipe = find_recipe(precision, DEFAULT.recipes)
    recipe = replace(recipe, level_dbfs=level_dbfs)
    calibrated = calibrate_checkpoint(default_checkpoint, [clip], recipe)
    ranges = find_ranges(calibrated, recipe)
    (tmp_path / "model.tflite").write_bytes(build_quantized(calibrated, recipe, ranges, {}))

    graph = calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    spectra, inputs = heard(torch.from_numpy(clip)[None], calibrated.signal)
    hook = FakeQuantizer(graph, encodings, recipe.choose)
    with corrected(calibrated, recipe, ranges):
        (mask,) = run_sequence(graph, {"features": inputs}, hook)
    predicted = synthesize(apply_mask(spectra, mask, SIGNAL), len(clip), SIGNAL)[0].numpy()

    # Kernels round halves their own way, and recurrences carry such a step on.
    enhanced = Enhancer(tmp_path / "model.tflite", stft="float").enhance(clip)
    assert snr_db(enhanced, predicted) > 18


@pytest.mark.parametrize(
    ("precision", "states"),
    [("int8_float_ends", {"int8"}), ("int8_float_coders", {"int8", "float32"})],
)
def test_float_ends_take_and_give_floats(default_checkpoint, clip, tmp_path, precision, states):
    recipe = find_recipe(precision, DEFAULT.recipes)
    calibrated = calibrate_checkpoint(default_checkpoint, [clip], PLAIN)
    ranges = find_ranges(calibrated, recipe)
    (tmp_path / "model.tflite").write_bytes(build_quantized(calibrated, recipe, ranges, {}))

    manifest = read_manifest(tmp_path / "model.tflite")
    assert manifest.tensors.features.dtype == manifest.tensors.mask.dtype == "float32"
    assert {state.dtype for state in manifest.states} == states


def test_no_level_leaves_features_as_they_are(clip):
    assert (front_end(torch.from_numpy(clip)[None], SIGNAL)[1] == 1).all()
