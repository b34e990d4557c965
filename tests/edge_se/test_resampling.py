"""One resampler for files and live: any rates, aligned, whatever the blocks are."""

import math

import numpy as np
import pytest
import soxr

from edge_se import resampling
from edge_se.resampling import Resampler, resample

# The last two pairs are too fine for a matrix: their filters are interpolated.
PAIRS = [
    *((rate, 16000) for rate in (8000, 11025, 15999, 22050, 32000, 44099, 44100, 48000, 192000)),
    *((16000, rate) for rate in (8000, 11025, 15999, 22050, 32000, 44099, 44100, 48000, 192000)),
    (48000, 44100),
    (1000, 16000),
]


def wave(rate: int, new_rate: int, seconds: float = 1.0) -> np.ndarray:
    """Noise that both rates hold and the filters leave as it is."""
    count = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / rate) > 0.43 * min(rate, new_rate)] = 0
    return (0.1 * np.fft.irfft(spectrum, count)).astype(np.float32)


def db(value: float) -> float:
    return 20 * math.log10(value)


@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_it_gives_what_another_resampler_gives(rate, new_rate):
    samples = wave(rate, new_rate)

    found = resample(samples, rate, new_rate)

    wanted = soxr.resample(samples, rate, new_rate)
    assert found.dtype == np.float32 and len(found) == math.ceil(len(samples) * new_rate / rate)
    middle = slice(new_rate // 10, -new_rate // 10)
    error = found[: len(wanted)][middle] - wanted[: len(found)][middle]
    assert db(error.std() / wanted.std()) < -75


@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_there_and_back_lies_on_the_input_to_a_thousandth_of_a_sample(rate, new_rate):
    samples = wave(rate, new_rate)

    back = resample(resample(samples, rate, new_rate), new_rate, rate)

    assert len(samples) <= len(back) <= len(samples) + math.ceil(rate / new_rate)
    middle = slice(rate // 10, -rate // 10)
    slope = np.gradient(samples.astype(np.float64))[middle]
    late = np.sum(slope * (samples[middle] - back[: len(samples)][middle])) / np.sum(slope**2)
    assert abs(late) < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("rate", "new_rate"), PAIRS)
def test_blocks_give_what_the_whole_gives(rate, new_rate, channels):
    samples = np.random.default_rng(1).standard_normal((rate // 2, channels)).astype(np.float32)
    random, resampler, parts, start = np.random.default_rng(2), None, [], 0
    resampler = Resampler(rate, new_rate, channels)
    while start < len(samples):
        count = int(random.integers(0, 3000))
        parts.append(resampler.push(samples[start : start + count]))
        start += count
    found = np.concatenate([*parts, resampler.finish()])

    assert found.shape[1] == channels
    for channel in range(channels):
        whole = resample(samples[:, channel], rate, new_rate)
        np.testing.assert_allclose(found[:, channel], whole, atol=5e-6)


@pytest.mark.parametrize(("rate", "new_rate"), [*PAIRS, (16000, 16000)])
def test_it_needs_as_much_as_it_says(rate, new_rate):
    resampler = Resampler(rate, new_rate)
    for count in (1, 256, 256, 7, 1000):
        needed = resampler.needed(count)

        before = resampler.push(np.zeros((needed - 1, 1), np.float32))
        last = resampler.push(np.zeros((1, 1), np.float32))

        assert len(before) < count <= len(before) + len(last)


@pytest.mark.parametrize(("rate", "new_rate"), [(48000, 16000), (44100, 16000), (16000, 44099)])
def test_no_sample_depends_on_more_than_its_half(rate, new_rate):
    resampler = Resampler(rate, new_rate)
    for place in (0, 1000):
        samples = np.zeros(rate // 10, np.float32)
        samples[place] = 1

        reached = np.flatnonzero(resample(samples, rate, new_rate)) * rate / new_rate

        assert reached.min() >= place - resampler.half and reached.max() <= place + resampler.half


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_signals_have_their_length(length):
    samples = np.ones(length, np.float32)

    assert len(resample(samples, 48000, 16000)) == min(length, 1)
    assert len(resample(samples, 16000, 48000)) == 3 * length
    assert resample(samples, 48000, 48000) is samples


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 16000), (44099, 16000), (96000, 16000)])
def test_what_would_fold_is_80_db_down(rate, new_rate):
    times = np.arange(rate) / rate
    for hertz in np.linspace(1.06, 0.99 * rate / new_rate, 9) * new_rate / 2:
        tone = np.sin(2 * np.pi * hertz * times).astype(np.float32)

        out = resample(tone, rate, new_rate)[new_rate // 10 : -new_rate // 10]

        assert db(out.std() / tone.std()) < -80


@pytest.mark.parametrize("rate", [44099, 44100, 48000])
def test_no_filter_is_computed_while_sound_comes(monkeypatch, rate):
    """That of 48 kHz takes a small board 50 ms, more than it has before a hop is late."""
    resampling._filters.cache_clear()
    resampling._table.cache_clear()
    both = Resampler(rate, 16000), Resampler(16000, rate)

    monkeypatch.delattr(resampling, "windowed_sinc")

    assert all(len(one.push(np.zeros((1000, 1), np.float32))) for one in both)


@pytest.mark.parametrize("rate", [0, -16000, 16000.0, "16000"])
def test_what_is_no_rate_is_refused(rate):
    for pair in ((rate, 16000), (16000, rate)):
        with pytest.raises(ValueError, match="a sample rate is a whole number of Hz above 0"):
            Resampler(*pair)
