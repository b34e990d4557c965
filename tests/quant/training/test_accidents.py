"""What happens to microphones is put into mixtures as it would reach the network."""

from dataclasses import replace

import numpy as np
import pytest

from quant.audio.mixing import level_dbfs, rms
from quant.graph.recipes import find_recipe
from quant.networks.registry import find_network
from quant.ptq.pipeline import signal_for
from quant.training.accidents import AccidentSettings, with_accidents

NOTHING = AccidentSettings(
    share=1,
    level_dbfs=(-25, -25),
    gain_step_probability=0,
    silence_probability=0,
    hum_probability=0,
    dc_probability=0,
    knock_probability=0,
)


def heard_by(name):
    network = find_network(name)
    return signal_for(network.signal(network.create()), find_recipe("float", network.recipes))


GTCRN, UL_UNAS = heard_by("gtcrn"), heard_by("ul_unas")


@pytest.fixture
def mixture(speech, noise):
    """Two seconds of speech in noise, and the speech; float32 [32000] each."""
    clean, disturbance = (each.clips[0].astype(np.float32) / 32768 for each in (speech, noise))
    return clean + 0.3 * disturbance, clean


@pytest.fixture
def hit(mixture):
    def hit(signal=GTCRN, seed=0, **settings):
        noisy, clean = mixture
        random = np.random.default_rng(seed)
        return with_accidents(noisy, clean, random, replace(NOTHING, **settings), signal)

    return hit


def test_a_share_of_the_mixtures_has_accidents_and_the_others_stay(mixture):
    noisy, clean = mixture
    random, settings = np.random.default_rng(0), AccidentSettings(share=0.25)

    found = [with_accidents(noisy, clean, random, settings, GTCRN)[0] for _ in range(80)]

    assert 10 < sum(each is not noisy for each in found) < 30


def test_a_level_that_the_front_end_leaves_is_that_of_mixture_and_target(hit, mixture):
    noisy, target = hit(level_dbfs=(-30, -30))

    gain = 10 ** ((-30 - level_dbfs(mixture[0])) / 20)
    assert level_dbfs(noisy) == pytest.approx(-30, abs=0.01)
    np.testing.assert_allclose(target, gain * mixture[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("signal", "low", "high"), [(GTCRN, -36, -26), (UL_UNAS, -60.1, -59.9)])
def test_soft_speech_reaches_the_network_as_the_front_end_brings_it(hit, signal, low, high):
    noisy, target = hit(signal, level_dbfs=(-60, -60))

    assert low < level_dbfs(noisy[16000:]) < high
    assert 0.5 < np.dot(noisy, target) / np.dot(target, target) < 1.5  # at one gain


def test_loud_speech_is_clipped_and_its_target_is_not(hit, mixture):
    noisy, target = hit(UL_UNAS, level_dbfs=(0, 0))

    assert np.abs(target).max() > 1.1 * np.abs(noisy).max()
    tall = np.abs(target) > 0.2 * np.abs(target).max()
    assert tall.sum() > 1000 and level_dbfs(noisy) < -8


def test_a_gain_step_is_in_both(hit, mixture):
    before = rms(mixture[1][:8000]) / rms(mixture[1][-8000:])
    soft = {"level_dbfs": (-55, -55), "gain_step_probability": 1.0}
    found = [hit(UL_UNAS, seed, **soft) for seed in range(8)]

    ratios = [rms(target[:8000]) / rms(target[-8000:]) / before for _, target in found]
    assert max(ratios) > 2 and min(ratios) < 0.5
    for noisy, target in found:
        assert np.dot(noisy, target) / rms(noisy) / rms(target) / len(noisy) > 0.8


def test_silence_comes_first_and_nothing_is_lost_of_the_order(hit, mixture):
    noisy, target = hit(silence_probability=1.0, silence_seconds=(0.5, 0.5))

    assert not target[:8000].any()
    assert 0 < np.abs(noisy[:8000]).max() < 2e-4  # the converter's noise
    assert np.corrcoef(target[8000:], mixture[1][:-8000])[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("accident", "least"),
    [
        ({"hum_probability": 1.0, "hum_db": (0, 0)}, 0.5),
        ({"knock_probability": 1.0, "knock_seconds": (0.3, 0.3)}, 0.5),
        ({"dc_probability": 1.0, "dc": (0.1, 0.1)}, 0.005),
    ],
)
def test_hum_knocks_and_dc_are_noise(hit, accident, least):
    plain, usual_target = hit()
    noisy, target = hit(**accident)

    assert rms(noisy - plain) > least * rms(plain)
    assert np.corrcoef(target, usual_target)[0, 1] > 0.5
    assert rms(target) <= 1.001 * rms(usual_target)


def test_dc_is_gone_once_the_front_end_knows_it(hit):
    noisy, _ = hit(dc_probability=1.0, dc=(0.1, 0.1))

    assert abs(noisy[-16000:].mean()) < 0.004


def test_a_click_is_as_short_as_it_is_drawn(hit):
    plain, _ = hit(UL_UNAS)
    noisy, _ = hit(UL_UNAS, seed=3, knock_probability=1.0, knock_seconds=(0.001, 0.001))

    assert 1 <= np.sum(np.abs(noisy) > 2 * np.abs(plain).max()) <= 16


@pytest.mark.parametrize("signal", [GTCRN, UL_UNAS])
def test_whatever_happens_mixtures_are_finite_and_of_their_length(hit, mixture, signal):
    always = {name: 1.0 for name in vars(NOTHING) if name.endswith("_probability")}

    for seed in range(20):
        usual = AccidentSettings()
        ranges = {name: value for name, value in vars(usual).items() if isinstance(value, tuple)}
        noisy, target = hit(signal, seed, **always, **ranges)
        assert noisy.shape == target.shape == mixture[0].shape
        assert noisy.dtype == target.dtype == np.float32
        assert np.isfinite(noisy).all() and np.isfinite(target).all()


def test_the_same_seed_makes_the_same_accident(hit):
    first, again, other = (hit(seed=seed, knock_probability=1.0)[0] for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
