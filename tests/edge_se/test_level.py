"""Level normalization follows the input's level by powers of two, and only as far as needed."""

from dataclasses import replace

import numpy as np
import pytest

from edge_se.level import (
    KNOCK_BEGAN,
    KNOCK_ENDED,
    LARGEST_EXPONENT,
    ONE,
    SMALLEST_EXPONENT,
    FloatDc,
    IntegerDc,
    LevelNormalizer,
    hop_crest,
    hop_energy,
    hop_level,
    level_of,
)
from tests.helpers.tiny_model import SIGNAL

FOLLOWING = replace(SIGNAL, level_dbfs=-25.0, front_end="follow")


def noise(level_dbfs: float, hops: int) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal((hops, 256))
    return (samples * 10 ** (level_dbfs / 20)).astype(np.float32)


def exponents(normalizer: LevelNormalizer, hops: np.ndarray) -> list[int]:
    return [normalizer(hop_energy(hop), hop_crest(hop)) for hop in hops]


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


def test_attenuation_alone_amplifies_nothing_and_knows_no_knock():
    normalizer = LevelNormalizer(replace(SIGNAL, level_dbfs=-25.0))
    found = []
    for hop in [*speech(-60, 300), *np.ones((4, 256), np.float32), *speech(-25, 50)]:
        found.append(normalizer(hop_energy(hop)))
        assert not normalizer.event

    assert max(found) == 0
    assert set(found[:304]) == {0}, "a short knock moves nothing"


def speech(level_dbfs: float, hops: int) -> np.ndarray:
    """Bursts of a fifth of a second, and background 30 dB below between them."""
    samples = noise(level_dbfs, hops)
    samples[np.arange(hops) % 24 >= 12] *= np.float32(10 ** (-30 / 20))
    return samples


@pytest.mark.parametrize("level_dbfs", [-44, -48, -52, -60, -65, -75])
def test_soft_speech_is_amplified_within_4_seconds_and_stays_so_in_pauses(level_dbfs):
    normalizer = LevelNormalizer(FOLLOWING)

    amplified = exponents(normalizer, speech(level_dbfs, 250))[-1]
    paused = exponents(normalizer, noise(level_dbfs - 30, 3000))

    heard_dbfs = level_dbfs + amplified * 20 * np.log10(2)
    assert -25 - 9 < heard_dbfs < -25 + 3 or amplified == LARGEST_EXPONENT["follow"]
    assert set(paused) == {amplified}


def test_louder_speech_ends_the_amplification_with_its_first_hop():
    normalizer = LevelNormalizer(FOLLOWING)
    exponents(normalizer, speech(-70, 300))

    assert exponents(normalizer, noise(-10, 1)) <= [0]


def test_no_frame_is_heard_more_than_18_db_above_the_target():
    loud = noise(20, 50)
    found = exponents(LevelNormalizer(FOLLOWING), loud)

    heard = [20 + 20 * np.log10(2.0**exponent) for exponent in found]
    assert max(heard) < -25 + 3 + 15 + 1


def events(normalizer: LevelNormalizer, hops: np.ndarray) -> list[tuple[int, int]]:
    """What happened, and at which hop."""
    found = []
    for number, hop in enumerate(hops):
        normalizer(hop_energy(hop), hop_crest(hop))
        if normalizer.event:
            found.append((number, normalizer.event))
    return found


def test_states_are_kept_before_each_knock_and_restored_64_ms_after_it():
    knock, pause = np.ones((16, 256), np.float32), noise(-25, 50)
    found = events(LevelNormalizer(FOLLOWING), np.concatenate([pause, knock, pause, knock, pause]))

    # The window of the hop after a knock has its last hop in it.
    expected = [(50, KNOCK_BEGAN), (70, KNOCK_ENDED), (116, KNOCK_BEGAN), (136, KNOCK_ENDED)]
    assert found == expected


@pytest.mark.parametrize("level_dbfs", [-60, -35, -25])
@pytest.mark.parametrize(("samples", "size"), [(1, 1.0), (15, -1.0), (3, 0.9)])
def test_a_click_at_full_scale_is_a_knock_however_short(level_dbfs, samples, size):
    hops = noise(level_dbfs, 60)
    hops[50, 100 : 100 + samples] = size

    (begun, end) = events(LevelNormalizer(FOLLOWING), hops)
    assert begun == (50, KNOCK_BEGAN)
    assert end in [(54, KNOCK_ENDED), (55, KNOCK_ENDED)]  # as loud as the hop is


@pytest.mark.parametrize(("level_dbfs", "size"), [(-60, 0.8), (-25, 0.8), (-12, 1.0)])
def test_samples_that_are_not_far_beyond_speech_are_no_click(level_dbfs, size):
    hops = noise(level_dbfs, 60)
    hops[50, 100] = size

    assert events(LevelNormalizer(FOLLOWING), hops) == []


def test_attenuation_alone_knows_no_click():
    hops = noise(-25, 60)
    hops[50, 100:116] = 1

    assert events(LevelNormalizer(replace(FOLLOWING, front_end="attenuate")), hops) == []


@pytest.mark.parametrize("level_dbfs", [-60, -25])
def test_after_30_s_of_a_knock_the_level_is_what_it_was(level_dbfs):
    normalizer, loud = LevelNormalizer(FOLLOWING), np.ones((2000, 256), np.float32)
    before = exponents(normalizer, speech(level_dbfs, 400))[-1]

    during = exponents(normalizer, loud)
    after = exponents(normalizer, speech(level_dbfs, 20))

    assert during[-1] == -2 and set(after[5:]) == {before}


@pytest.mark.parametrize("level_dbfs", [-60, -35, -25, -15])
def test_usual_speech_is_no_knock(level_dbfs):
    normalizer = LevelNormalizer(FOLLOWING)
    for hop in speech(level_dbfs, 500):
        normalizer(hop_energy(hop), hop_crest(hop))
        assert not normalizer.event


@pytest.mark.parametrize("dc", [-0.5, 0.05, 0.3])
def test_dc_is_gone_after_a_second_in_integers_and_floats(dc):
    samples = noise(-40, 64) + np.float32(dc)
    integers, floats = IntegerDc(), FloatDc(256)
    for hop in samples:
        whole = np.rint(hop * 32768).astype(np.int64)
        left = whole - integers(whole, 0)
        centred = floats(hop, 0)

    assert abs(left.mean()) < 32768 * 0.002
    assert abs(centred.mean()) < 0.002


def test_usual_samples_stay_as_they_are_to_the_bit():
    samples = noise(-20, 400)
    integers, floats = IntegerDc(), FloatDc(256)
    for hop in samples:
        assert integers(np.rint(hop * 32768).astype(np.int64), 0) == 0
        np.testing.assert_array_equal(floats(hop, 0), hop)


def test_soft_microphones_lose_dc_that_loud_ones_keep():
    samples = noise(-60, 64) + np.float32(0.003)
    loud, soft = FloatDc(256), FloatDc(256)
    for hop in samples:
        kept, centred = loud(hop, 0), soft(hop, 5).mean()

    assert abs(kept.mean() - 0.003) < 0.0005
    assert abs(centred) < 0.0005


def test_reset_forgets_the_level():
    normalizer = LevelNormalizer(replace(SIGNAL, level_dbfs=-28.0))
    first = exponents(normalizer, noise(-12, 100))
    normalizer.reset()

    assert exponents(normalizer, noise(-12, 100)) == first
