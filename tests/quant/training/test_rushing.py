"""Rushing noise has the envelopes that it was given, and is a noise that nobody recorded."""

import numpy as np
import pytest

from quant.training.rushing import like_recorded

RATE, LENGTH = 16000, 48000


def loud_half(random):
    noise = random.standard_normal(LENGTH)
    noise[: LENGTH // 2] *= 10
    return noise


def low_noise(random):
    return np.convolve(random.standard_normal(LENGTH + 511), np.hanning(512), "valid")


def levels(parts):
    return [10 * np.log10(np.mean(np.square(part))) for part in parts]


@pytest.mark.parametrize("seed", range(10))
def test_it_is_loud_when_the_recording_is_or_the_other_way_around(seed):
    random = np.random.default_rng(seed)

    made = like_recorded(loud_half(random), random, RATE)

    first, second = levels(np.split(made, 2))
    assert 9 < abs(first - second) < 31  # 20 dB with half to one and a half times the contrast


@pytest.mark.parametrize("seed", range(10))
def test_it_has_the_bands_of_the_recording_at_most_an_octave_away(seed):
    random = np.random.default_rng(seed)

    power = np.square(np.abs(np.fft.rfft(like_recorded(low_noise(random), random, RATE))))

    below = np.fft.rfftfreq(LENGTH, 1 / RATE) < 500
    assert power[below].sum() > 0.8 * power.sum()


def test_its_samples_are_not_those_of_the_recording():
    random = np.random.default_rng(0)
    recorded = loud_half(random)

    made = like_recorded(recorded, random, RATE)

    assert abs(np.corrcoef(recorded, made)[0, 1]) < 0.05


@pytest.mark.parametrize("length", [1, 255, 256, 4000, 4001])
def test_it_is_as_long_as_the_recording_and_finite_even_of_silence(length):
    random = np.random.default_rng(0)

    for recorded in (random.standard_normal(length), np.zeros(length)):
        made = like_recorded(recorded, random, RATE)
        assert made.shape == (length,) and np.isfinite(made).all() and made.any()
