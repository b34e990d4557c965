"""What is measured of separators: seams that one window has not, and that more windows have."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from edge_se.manifest import Chunk
from edge_se.signal import Signal
from quant.graph.graph import Graph
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import Checkpoint
from quant.networks.registry import find_network
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import CalibratedGraph
from quant.separation import clips
from quant.separation.evaluation import seam_scores, whole_magnitude
from quant.separation.pipeline import pick_windows, separator_ranges, split_windows, windows_of
from tests.helpers.separators import SMALL_OPTIONS, fill_by_rule

SIGNAL = Signal(8000, 128, 64, "hann", "stereo_magnitude", "stereo_magnitude")
CHUNK = Chunk(160, 64)


@pytest.fixture(scope="module")
def network():
    return fill_by_rule(find_network("cascaded_lstm").create(**SMALL_OPTIONS["cascaded_lstm"]))


def stereo(frames: int) -> np.ndarray:
    """Noise that gives this many frames."""
    random = np.random.default_rng(frames)
    return (0.1 * random.standard_normal((64 * (frames - 1), 2))).astype(np.float32)


def test_a_single_window_has_no_seam(network):
    scores = seam_scores(network, stereo(32), SIGNAL, CHUNK)
    assert scores["long_pass_mask_snr_db"] > 90
    assert "seam_mask_snr_db" not in scores


def test_windows_differ_from_one_pass_most_at_their_seams(network):
    scores = seam_scores(network, stereo(128), SIGNAL, CHUNK)
    assert scores["seam_mask_snr_db"] < scores["between_seams_mask_snr_db"]
    assert 15 < scores["long_pass_mask_snr_db"] < 90


def test_windows_join_to_the_whole_recording():
    windows = list(windows_of(stereo(100), SIGNAL, CHUNK))

    whole = whole_magnitude(windows, CHUNK)

    assert whole.shape == (1, 1, 1, 64 + 4 * 32 + 64, 65, 2)
    for index, window in enumerate(windows):
        assert torch.equal(whole[:, :, :, 32 * index : 32 * index + 160], window)


def test_the_recordings_peak_is_one():
    windows = torch.cat(list(windows_of(stereo(100), SIGNAL, CHUNK)))
    assert float(windows.max()) == 1.0


def test_judged_windows_are_not_calibrated_with():
    windows = pick_windows([stereo(400)], SIGNAL, CHUNK, count=8)
    calibration, judged = split_windows(windows)
    assert (len(calibration), len(judged)) == (6, 2)
    assert not any(window is other for window in calibration for other in judged)


def test_values_that_are_nearly_always_zero_keep_a_range():
    seldom = np.zeros(1000, np.float32)
    statistics = Statistics(
        samples={"seldom": seldom, "never": seldom, "often": np.linspace(-1, 1, 1000)},
        extremes={"seldom": (0.0, 0.04), "never": (0.0, 0.0), "often": (-1.0, 1.0)},
    )

    network = find_network("cascaded_lstm")
    checkpoint = Checkpoint(torch.nn.Identity(), network, "none", "")

    calibrated = CalibratedGraph(checkpoint, Graph(), statistics, SIGNAL)
    ranges = separator_ranges(calibrated, RECIPES["int8"])

    assert ranges["seldom"] == (0.0, 0.04)
    assert ranges["never"] == (0.0, 0.001)
    assert ranges["often"] == (-1.0, 1.0)


def test_long_files_give_their_middle_only(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "EXCERPT_SECONDS", 2.0)
    samples = np.linspace(-0.5, 0.5, 8000 * 6)
    soundfile.write(tmp_path / "long.wav", samples, 8000, "FLOAT")

    (mixture,) = clips.read_mixtures(tmp_path, 8000).mixtures

    np.testing.assert_allclose(mixture[:, 0], samples[16000:32000], atol=1e-6)


@pytest.mark.parametrize(
    "folders", [("clean", "noise"), ("Clean_train_44k", "NOISE"), ("set/clean", "set/noise")]
)
def test_vocals_and_accompaniment_are_mixed_in_stereo(tmp_path, folders):
    random = np.random.default_rng(0)
    for name, gains in zip(folders, ((1.0, 0.0), (0.0, 1.0)), strict=True):
        (tmp_path / name).mkdir(parents=True)
        samples = 0.1 * random.standard_normal((16000, 1)) * np.array(gains)
        soundfile.write(tmp_path / name / "0.wav", samples, 8000, "FLOAT")

    (mixture,) = clips.read_mixtures(tmp_path, 8000).mixtures

    assert mixture.shape == (16000, 2)
    assert np.abs(np.corrcoef(mixture.T)[0, 1]) < 0.1
    assert np.all(mixture.std(axis=0) > 0)


def test_unusable_files_are_skipped_and_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 8000)
    soundfile.write(tmp_path / "short.wav", np.ones(100), 8000)
    soundfile.write(tmp_path / "surround.wav", np.ones((16000, 6)), 8000)
    soundfile.write(tmp_path / "usable.wav", 0.1 * np.ones((16000, 2)), 8000)

    read = clips.read_mixtures(tmp_path, 8000)

    assert len(read.mixtures) == 1
    assert [skip.path.name for skip in read.skipped] == ["short.wav", "silent.wav", "surround.wav"]


def test_the_recipe_says_how_a_separator_s_ranges_are_found():
    values = np.append(np.linspace(-1, 1, 99999), 1.5).astype(np.float32)
    statistics = Statistics(samples={"x": values}, extremes={"x": (-1.0, 1.5)})
    checkpoint = Checkpoint(torch.nn.Identity(), find_network("cascaded_lstm"), "none", "")
    calibrated = CalibratedGraph(checkpoint, Graph(), statistics, SIGNAL)

    percentiles, extremes = (
        separator_ranges(calibrated, replace(RECIPES["int8"], ranges=method))["x"]
        for method in ("percentile", "min-max")
    )

    assert percentiles[1] < 1.01
    assert extremes == (-1.0, 1.5)
