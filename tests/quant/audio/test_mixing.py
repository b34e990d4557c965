"""Mixtures have the SNR and the level that was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.audio.mixing import (
    LEVELS_DBFS,
    SNRS_DB,
    calibration_mixtures,
    level_dbfs,
    mix,
    random_part,
    rms,
)


def noise(seed, length=16000, scale=0.1):
    return (scale * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    snr_db=st.floats(-10, 40),
    level=st.floats(-50, -5),
    speech_scale=st.floats(1e-3, 1),
    noise_scale=st.floats(1e-3, 1),
)
def test_a_mixture_has_its_snr_and_level(snr_db, level, speech_scale, noise_scale):
    speech, disturbance = noise(1, scale=speech_scale), noise(2, scale=noise_scale)

    mixture = mix(speech, disturbance, snr_db, level)

    rest = mixture.noisy.astype(np.float64) - mixture.clean
    assert level_dbfs(mixture.noisy) == pytest.approx(level, abs=1e-3)
    assert 20 * np.log10(rms(mixture.clean) / rms(rest)) == pytest.approx(snr_db, abs=0.01)


def test_the_clean_speech_is_the_one_in_the_mixture():
    speech = noise(1)

    mixture = mix(speech, noise(2), 5, -26)

    gain = mixture.clean[0] / speech[0]
    np.testing.assert_allclose(mixture.clean, gain * speech, rtol=1e-5)


def test_silence_and_unequal_lengths_cannot_be_mixed():
    with pytest.raises(ValueError, match="silent"):
        mix(np.zeros(100, np.float32), noise(1, 100), 0, -26)
    with pytest.raises(ValueError, match="differ in length"):
        mix(noise(1, 100), noise(2, 99), 0, -26)


def test_a_short_clip_is_repeated_to_the_length():
    part = random_part(np.arange(5), 12, np.random.default_rng(3))

    assert len(part) == 12
    assert (np.diff(part) % 5 == 1).all()


def test_calibration_covers_every_snr_and_level():
    clean = [noise(number, 8000) for number in range(12)]

    mixtures = calibration_mixtures(clean, [noise(50, 20000)], seed=0)

    assert {mixture.snr_db for mixture in mixtures} == set(SNRS_DB)
    # Gaussian samples at -10 dBFS exceed full scale, so these are made a little softer.
    assert {mixture.level_dbfs for mixture in mixtures} >= set(LEVELS_DBFS[:-1])


def test_calibration_never_exceeds_full_scale_and_states_the_level_it_has():
    clean = [noise(number, 8000) for number in range(6)]

    mixtures = calibration_mixtures(clean, [noise(50)], seed=0, levels_dbfs=[-3])

    assert all(np.abs(mixture.noisy).max() <= 1 for mixture in mixtures)
    for mixture in mixtures:
        assert level_dbfs(mixture.noisy) == pytest.approx(mixture.level_dbfs, abs=1e-3)


def test_calibration_repeats_with_its_seed_and_varies_with_another():
    clean, noises = [noise(1), noise(2)], [noise(3, 64000)]

    first, again, other = (calibration_mixtures(clean, noises, seed) for seed in (7, 7, 8))

    assert all(np.array_equal(one.noisy, two.noisy) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0].noisy, other[0].noisy)
