"""Level normalization follows the input's level by powers of two, and only as far as needed."""

from dataclasses import replace

import numpy as np
import pytest

from edge_se.level import (
    ONE,
    SMALLEST_EXPONENT,
    LevelNormalizer,
    hop_energy,
    hop_level,
    level_of,
)
from tests.helpers.tiny_model import SIGNAL


def noise(level_dbfs: float, hops: int) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal((hops, 256))
    return (samples * 10 ** (level_dbfs / 20)).astype(np.float32)


def exponents(normalizer: LevelNormalizer, hops: np.ndarray) -> list[int]:
    return [normalizer(hop_energy(hop)) for hop in hops]


@pytest.mark.parametrize(("level_dbfs", "exponent"), [(-13, -1), (-6, -2), (0, -3)])
def test_a_loud_level_is_brought_within_12_db_of_the_target(level_dbfs, exponent):
    found = exponents(LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0)), noise(level_dbfs, 600))

    assert found[-1] == exponent
    assert max(map(abs, np.diff(found))) == 1


@pytest.mark.parametrize("level_dbfs", [-60, -36, -28, -17])
def test_other_levels_are_left_as_they_are(level_dbfs):
    assert set(
        exponents(LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0)), noise(level_dbfs, 2500))
    ) == {0}


def test_what_follows_loud_speech_is_heard_as_it_is_after_a_while():
    normalizer = LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0))
    assert exponents(normalizer, noise(-6, 300))[-1] == -2

    assert exponents(normalizer, noise(-30, 2500))[-1] == 0


@pytest.mark.parametrize("energy", [1, 2, 3, 1000, 2**27 + 1, 2**38, 2**60])
def test_levels_are_octaves_of_rms(energy):
    assert hop_level(energy) / ONE == pytest.approx(np.log2(energy) / 2, abs=0.0041)


def test_levels_are_what_dbfs_say():
    level = hop_level(hop_energy(np.full(256, 10 ** (-20 / 20), np.float32)))

    assert level == pytest.approx(level_of(-20, 256), abs=0.0041 * ONE)
    assert level_of(-65, 256) == 537640


def test_energies_too_large_for_a_float_saturate():
    assert hop_energy(np.full(256, 1e12, np.float32)) == 2**60


def test_silence_changes_nothing():
    normalizer = LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0))
    exponents(normalizer, noise(-10, 300))
    before = normalizer(0)

    assert set(exponents(normalizer, np.zeros((500, 256), np.float32))) == {before}


def test_the_gain_is_bounded():
    assert (
        exponents(LevelNormalizer(replace(SIGNAL, level_dbfs=-60.0)), noise(0, 500))[-1]
        == SMALLEST_EXPONENT
    )


def test_reset_forgets_the_level():
    normalizer = LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0))
    first = exponents(normalizer, noise(-12, 100))
    normalizer.reset()

    assert exponents(normalizer, noise(-12, 100)) == first
