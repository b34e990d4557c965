"""Made-up noises are what their names say, whatever the generator draws."""

import numpy as np
import pytest

from quant.training.rushing import made_up
from quant.training.synthetic_noise import clatter, coloured_noise, machine, synthetic_noise, tones

LENGTH = 32000


def draws(make, count=20):
    return [make(LENGTH, np.random.default_rng(seed), 16000) for seed in range(count)]


MAKERS = [clatter, coloured_noise, machine, made_up, synthetic_noise, tones]


@pytest.mark.parametrize("make", MAKERS)
def test_noises_are_finite_audible_and_a_function_of_the_generator(make):
    noises = draws(make)

    for noise, again in zip(noises, draws(make), strict=True):
        assert noise.shape == (LENGTH,) and np.isfinite(noise).all() and noise.std() > 1e-6
        np.testing.assert_array_equal(noise, again)
    assert len({noise.tobytes() for noise in noises}) == len(noises)


def peakiness(values):
    """How much of the whole lies in its largest hundredth."""
    values = np.sort(np.abs(values) ** 2)
    return values[-len(values) // 100 :].sum() / values.sum()


def spectrum(noise):
    return np.fft.rfft(noise * np.hanning(LENGTH))


def test_clatter_is_loud_at_few_times():
    assert np.median([peakiness(noise) for noise in draws(clatter)]) > 0.3
    assert max(peakiness(noise) for noise in draws(coloured_noise)) < 0.2


def test_tones_and_machines_are_loud_at_few_frequencies():
    white = np.random.default_rng(0).standard_normal(LENGTH)

    assert peakiness(spectrum(white)) < 0.1
    for make in (tones, machine):
        assert np.median([peakiness(spectrum(noise)) for noise in draws(make)]) > 0.3
