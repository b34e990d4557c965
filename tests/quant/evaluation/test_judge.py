"""Judged clips, paired losses, and what a judge finds of networks with a known difference."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.model_file import find_model
from quant.audio.clips import CalibrationClips, Clip, read_calibration_clips
from quant.evaluation.judge import FileJudge, JudgedClips, Loss, SimulationJudge
from quant.evaluation.metrics import pesq_wb
from quant.evaluation.saturation import SaturationCounter
from quant.graph import operators as ops
from quant.graph.encoding import Encoding, Precision, assign_encodings
from quant.graph.graph import Graph
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.ul_unas.model import SIGNAL as UL_UNAS
from quant.ptq.pipeline import build_float
from tests.helpers.running import checkpoint_of


@pytest.fixture
def tiny() -> Graph:
    """A mask that is the tanh of its features, real and imaginary."""
    graph = Graph()
    features = graph.input("features", (3, 257))
    graph.output(ops.tanh(graph, ops.slice(graph, features, (1, 0), (2, 257), "rows"), "mask"))
    return graph


@pytest.fixture
def judged() -> JudgedClips:
    random = np.random.default_rng(0)
    return JudgedClips(random.standard_normal((2, 4000)).astype(np.float32), 16000)


def test_the_same_network_is_infinitely_near(tiny, judged):
    quality = SimulationJudge(judged, checkpoint_of(tiny)).measure(tiny, SIGNAL, None)

    assert quality.mask_snr_db == quality.output_snr_db == 100.0


def test_a_mask_a_tenth_too_large_is_20_db_away(tiny, judged):
    def louder(value, tensor):
        return 1.1 * tensor if value.name == "mask" else tensor

    quality = SimulationJudge(judged, checkpoint_of(tiny)).measure(tiny, SIGNAL, louder)

    assert quality.mask_snr_db == pytest.approx(20.0, abs=1e-3)
    assert quality.output_snr_db == pytest.approx(20.0, abs=1e-3)


def test_a_real_mask_of_logarithms_is_judged_as_well(judged):
    graph = Graph()
    graph.output(ops.sigmoid(graph, graph.input("features", (1, 257)), "mask"))

    def louder(value, tensor):
        return 1.1 * tensor if value.name == "mask" else tensor

    quality = SimulationJudge(judged, checkpoint_of(graph, UL_UNAS)).measure(graph, UL_UNAS, louder)

    assert quality.mask_snr_db == pytest.approx(20.0, abs=1e-3)
    assert quality.output_snr_db == pytest.approx(20.0, abs=1e-3)


def test_a_network_that_looks_ahead_is_aligned_with_its_input(tiny, judged):
    late = copy.deepcopy(tiny)
    late.lookahead = 2

    def two_frames_late(value, tensor):
        return torch.roll(tensor, 2, 0) if value.name == "mask" else tensor

    one = JudgedClips(judged.noisy[:1], 16000)
    quality = SimulationJudge(one, checkpoint_of(tiny)).measure(late, SIGNAL, two_frames_late)

    assert quality.output_snr_db > 90


def test_without_clean_speech_nothing_is_scored(tiny, judged):
    assert SimulationJudge(judged, checkpoint_of(tiny)).measure(tiny, SIGNAL, None).losses == {}


def test_a_loss_is_the_mean_of_the_pairs_that_have_a_score():
    loss = Loss.of(np.array([0.1, np.nan, 0.3]))

    assert (loss.mean, loss.error, loss.clips) == pytest.approx((0.2, 0.1, 2))
    assert Loss.of(np.array([np.nan])).clips == 0


def test_one_clip_in_ten_that_is_quite_different_does_not_decide():
    usual = np.random.default_rng(0).normal(0.03, 0.02, 20)
    loss, other = Loss.of(usual), Loss.of(np.append(usual[:-1], -2.0))

    assert loss.mean == pytest.approx(usual.mean(), abs=0.005)
    assert loss.error == pytest.approx(usual.std() / np.sqrt(20), rel=0.3)
    assert (other.mean, other.error) == pytest.approx((loss.mean, loss.error), abs=0.005)
    assert other.clips == 20


def test_mixtures_are_as_many_and_as_long_as_asked_for():
    random = np.random.default_rng(0)
    clips = [
        Clip(
            Path(f"{index}.wav"),
            random.standard_normal(9000 + index).astype(np.float32) / 10,
            16000,
        )
        for index in range(6)
    ]
    folder = CalibrationClips(clean=tuple(clips[:4]), noise=tuple(clips[4:]))

    judged = JudgedClips.of(folder, seed=3, count=2, seconds=0.5)
    again = JudgedClips.of(folder, seed=3, count=2, seconds=0.5)

    assert judged.clean is not None
    assert judged.noisy.shape == judged.clean.shape == (2, 8000)
    assert len(judged.snrs_db) == len(judged.levels_dbfs) == 2
    np.testing.assert_array_equal(judged.noisy, again.noisy)
    # Voices repeat where more is asked for, in other mixtures; a stream may have several.
    more = JudgedClips.of(folder, seed=3, count=7, seconds=1.5)
    assert more.noisy.shape == (7, 24000)
    assert len(np.unique(more.noisy, axis=0)) == 7


def test_a_stream_of_silence_is_left_out():
    samples = np.random.default_rng(0).standard_normal(32000).astype(np.float32) / 10
    voice = np.concatenate([samples[:9000], np.zeros(16000, np.float32)])
    clips = CalibrationClips(
        clean=(Clip(Path("a.wav"), voice, 16000),), noise=(Clip(Path("b.wav"), samples, 16000),)
    )

    judged = JudgedClips.of(clips, 0, 3, 0.5)
    heard = JudgedClips.of(CalibrationClips(noisy=clips.clean), 0, 3, 0.5)

    assert judged.noisy.shape == (2, 8000)
    assert heard.noisy.any(axis=1).all() and len(heard.noisy) == 2


def test_noisy_clips_are_joined_to_as_many_streams_as_they_are_enough_for():
    random = np.random.default_rng(0)
    noise = random.standard_normal((5, 6000)).astype(np.float32) / 10
    clips = CalibrationClips(noisy=tuple(Clip(Path("a.wav"), samples, 16000) for samples in noise))

    streams, one, short = (
        JudgedClips.of(clips, 0, *wanted) for wanted in ((9, 0.5), (1, 0.5), (9, 3))
    )

    np.testing.assert_array_equal(streams.noisy, noise.ravel()[:24000].reshape(3, 8000))
    assert one.noisy.shape == (1, 8000)
    np.testing.assert_array_equal(short.noisy, noise.reshape(1, 30000))
    assert streams.clean is None


def test_a_file_is_judged_by_what_it_puts_out(default_checkpoint):
    clips = JudgedClips.of(read_calibration_clips(clips_folder(), 16000), 1, 2, 2.0)
    judge = FileJudge(clips, build_float(default_checkpoint), ("pesq",))
    built_in = find_model("gtcrn").read_bytes()

    same, other = judge.measure(build_float(default_checkpoint)), judge.measure(built_in)

    assert same.output_snr_db == 100.0 and same.compressed_snr_db > 100
    assert same.losses["pesq"] == Loss(0.0, 0.0, 2)
    assert 15 < other.compressed_snr_db < 40
    assert clips.clean is not None
    enhanced = [Enhancer("gtcrn").enhance(noisy) for noisy in clips.noisy]
    scores = [pesq_wb(found, clean) for found, clean in zip(enhanced, clips.clean, strict=True)]
    expected = judge.float_scores["pesq"].mean() - np.mean(scores)
    assert other.losses["pesq"].mean == pytest.approx(expected, abs=1e-9)


def test_what_lies_beyond_a_range_is_counted(tiny):
    (mask,) = tiny.outputs
    counter = SaturationCounter(
        tiny, {mask: Encoding(Precision.INT8, 0.5, 0)}, lambda value, tensor: tensor
    )
    # From -64 to 63.5; half a step beyond still rounds to the end.
    counter(mask, torch.tensor([-64.3, -64.2, 0.0, 63.7, 63.8, 70.0, 1.0, 2.0]))

    assert counter.shares == {"mask": 0.375}


def test_what_a_tanh_takes_for_its_end_is_not_counted(tiny):
    ranges = {"features": (-8.0, 8.0), "mask": (-1.0, 127 / 128)}
    encodings = assign_encodings(tiny, lambda operator: Precision.INT8, ranges, Precision.INT8)
    (features,) = tiny.inputs
    narrow = encodings | {features: Encoding(Precision.INT8, 1 / 128, 0)}

    for given, expected in ((encodings, 0.0), (narrow, 0.5)):
        counter = SaturationCounter(tiny, given, lambda value, tensor: tensor)
        counter(features, torch.tensor([-7.0, -1.5, 0.5, 0.9]))
        assert counter.shares == {"features": expected}
