"""Training through rounding: it is the rounding of the file that `quantize` would make."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from edge_se.errors import UserError
from quant.audio.frames import apply_mask, heard, synthesize
from quant.checkpoints import default_checkpoint_path
from quant.graph.execute import run_sequence
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.registry import DEFAULT, find_network
from quant.ptq.pipeline import calibrate_checkpoint, corrected, find_ranges, simulate
from quant.training import loop
from quant.training.loop import Budget, RunOptions, Trainer, TrainingSettings
from quant.training.rounded import RoundedNetwork
from quant.training.validation import validation_mixtures
from tests.helpers.running import at_every_level, randomize

INT8 = RECIPES["int8"]
SETTINGS = TrainingSettings(
    batch_size=2, seconds=0.25, warmup_steps=2, learning_rate=1e-3, precision="int8"
)


@pytest.fixture
def checkpoint():
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope="session")
def noisy(speech, noise):
    mixtures = validation_mixtures(speech, noise, 4, 1.0, seed=0)
    return [mixture.noisy for mixture in mixtures]


def as_quantized(checkpoint, noisy, heard_clips):
    """What the INT8 file of a checkpoint computes, simulated."""
    with torch.no_grad():
        calibrated = calibrate_checkpoint(checkpoint, noisy, at_every_level(INT8))
        ranges = find_ranges(calibrated, INT8)
        spectra, features = heard(heard_clips, SIGNAL)
        with corrected(calibrated, INT8, ranges):
            hook, graph = simulate(calibrated, INT8, ranges), calibrated.graph
            (mask,) = run_sequence(graph, {"features": features}, hook)
        return synthesize(apply_mask(spectra, mask, SIGNAL), heard_clips.shape[-1], SIGNAL)


def test_the_rounding_is_that_of_the_file_before_and_after_the_weights_change(checkpoint, noisy):
    clips = torch.from_numpy(noisy[0])[None]
    rounded = RoundedNetwork(checkpoint.network, checkpoint.model, INT8, noisy)
    with torch.no_grad():
        first = rounded.enhance(clips)
        torch.testing.assert_close(first, as_quantized(checkpoint, noisy, clips), rtol=0, atol=1e-6)

        for parameter in checkpoint.model.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.05)
        moved = rounded.enhance(clips)
        rounded.calibrate()

        assert not torch.equal(moved, first)
        expected = as_quantized(checkpoint, noisy, clips)
        torch.testing.assert_close(rounded.enhance(clips), expected, rtol=0, atol=1e-6)


def test_gradients_reach_every_weight_of_the_network(noisy):
    model = randomize(
        find_network("gtcrn").create(), seed=0
    )  # a trained one's slopes may round to zero
    rounded = RoundedNetwork(DEFAULT, model, INT8, noisy)

    rounded.enhance(torch.from_numpy(noisy[0])[None]).square().sum().backward()

    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.any(), name


def trainer(out, settings=SETTINGS):
    out.mkdir(exist_ok=True)
    torch.manual_seed(3)
    options = RunOptions(out, Budget(steps=4), validate_every=2, workers=0)
    return Trainer(find_network("gtcrn").create(), settings, options)


@pytest.mark.slow
def test_a_run_leaves_batch_norm_alone_and_resumes_exactly(
    tmp_path, speech, noise, monkeypatch, interrupt_after
):
    monkeypatch.setattr(loop, "CALIBRATED_CLIPS", 2)
    mixtures = validation_mixtures(speech, noise, 2, 0.5, seed=0)
    trainer(tmp_path / "whole").run(speech, noise, mixtures, {})

    interrupted = trainer(tmp_path / "parts")
    interrupt_after(interrupted, 3)  # a step after the second calibration
    interrupted.run(speech, noise, mixtures, {})
    resumed = trainer(tmp_path / "parts")
    resumed.resume()
    resumed.run(speech, noise, mixtures, {})

    expected = load_file(tmp_path / "whole" / "last.safetensors")
    actual = load_file(tmp_path / "parts" / "last.safetensors")
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert not expected["model.encoder.en_convs.0.bn.running_mean"].any()


def test_a_float_run_does_not_go_on_from_a_rounded_one(tmp_path, speech, noise, monkeypatch):
    monkeypatch.setattr(loop, "CALIBRATED_CLIPS", 2)
    trainer(tmp_path).run(speech, noise, [], {})

    with pytest.raises(UserError, match="trained with precision int8, not float"):
        trainer(tmp_path, replace(SETTINGS, precision="float")).resume()
