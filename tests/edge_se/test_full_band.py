"""What lies above the network's band: aligned, even over the crossover, attenuated as the network
attenuates, and the same in files and live."""

from types import SimpleNamespace

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.audio.enhancing import enhance_blocks
from edge_se.full_band import TopGain
from edge_se.live.path import LivePath

RATES = (24000, 32000, 44100, 48000, 96000)


class Scale:
    """An enhancer with GTCRN's delay, which multiplies by a gain that depends on the hop."""

    sample_rate, hop_size, latency_samples = 16000, 256, 256
    sample_dtype = np.dtype(np.float32)
    manifest = SimpleNamespace(algorithmic_latency_ms=32.0)

    def __init__(self, gain=lambda hop: 1.0):
        self._gain = gain
        self.reset()

    def reset(self):
        self._last, self._hop = np.zeros(256, np.float32), 0

    def process(self, frame, out):
        new = frame * np.float32(self._gain(self._hop))
        out[:], self._last = self._last, new
        self._hop += 1


def offline(enhancer, signal, rate, length=1000, **options):
    blocks = (signal[start : start + length, None] for start in range(0, len(signal), length))
    return np.concatenate(list(enhance_blocks([enhancer], blocks, rate, **options)))[:, 0]


def live(enhancer, signal, rate, length=700, **options):
    """Aligned with the input, as long as it; what comes before is the latency."""
    path = LivePath(enhancer, rate, 1, **options)
    parts = [path.push(signal[i : i + length, None]) for i in range(0, len(signal), length)]
    out = np.concatenate([*parts, path.finish()])[:, 0]
    return out[round(path.latency_s * rate) :]


def noise(rate, seconds=1.0, low=0.0, high=1.0, level=0.1):
    """White between two shares of half the rate."""
    count = round(rate * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(count))
    spectrum[: round(low * len(spectrum))] = 0
    spectrum[round(high * len(spectrum)) :] = 0
    wave = np.fft.irfft(spectrum, count)
    return (level * wave / wave.std()).astype(np.float32)


def db(value):
    return 20 * np.log10(value)


@pytest.mark.parametrize("way", [offline, live])
@pytest.mark.parametrize("rate", RATES)
def test_where_the_network_changes_nothing_every_sample_passes_in_its_place(rate, way):
    signal = noise(rate)

    out = way(Scale(), signal, rate)

    assert out.shape == signal.shape
    np.testing.assert_allclose(out, signal, atol=1e-6)


@pytest.mark.parametrize("way", [offline, live])
@pytest.mark.parametrize("length", [0, 1, 767, 1001])
def test_short_signals_keep_their_length(length, way):
    signal = noise(48000)[:length]

    out = way(Scale(), signal, 48000)

    np.testing.assert_allclose(out, signal, atol=1e-6)


@pytest.mark.parametrize("way", [offline, live])
@pytest.mark.parametrize("hertz", [9000.0, 12000.0, 20000.0])
def test_a_tone_above_the_band_passes_by_itself(hertz, way):
    """Also where the network hears nothing."""
    tone = (0.1 * np.sin(2 * np.pi * hertz / 48000 * np.arange(48000))).astype(np.float32)

    out = way(Scale(), tone, 48000)

    np.testing.assert_allclose(out, tone, atol=1e-6)


@pytest.mark.parametrize("way", [offline, live])
@pytest.mark.parametrize("gain", [0.9, 0.5, 0.1])
def test_the_sum_is_flat_over_the_crossover(gain, way):
    signal = noise(48000, 4.0)

    out = way(Scale(lambda hop: gain), signal, 48000)

    response = np.abs(np.fft.rfft(out[48000:-4800])) / np.abs(np.fft.rfft(signal[48000:-4800]))
    bands = response[: len(response) // 100 * 100].reshape(100, -1)  # 240 Hz each
    assert np.abs(db(np.sqrt(np.mean(bands**2, axis=1))) - db(gain)).max() < 0.1


@pytest.mark.parametrize("way", [offline, live])
def test_what_the_network_takes_away_is_taken_away_above_too(way):
    signal, switch = noise(48000, 3.0), 94  # hops: 1.5 s
    enhancer = Scale(lambda hop: 1.0 if hop < switch else 0.01)

    out = way(enhancer, signal, 48000)

    above = noise_above(out)
    before = noise_above(signal)
    share = db(np.array([np.std(a) / np.std(b) for a, b in zip(above, before, strict=True)]))
    assert np.abs(share[:14]).max() < 0.1  # tenths of a second
    assert share[16:20].max() < -12
    assert share[20:29].max() < -30


def noise_above(signal):
    """What lies above 9 kHz of 48, in tenths of a second."""
    spectrum = np.fft.rfft(signal)
    spectrum[: round(len(spectrum) * 9 / 24)] = 0
    return np.split(np.fft.irfft(spectrum, len(signal)), len(signal) // 4800)


def test_a_network_that_amplifies_does_not_amplify_what_it_does_not_hear():
    gain = TopGain(256, 16000)
    hops = noise(16000).reshape(-1, 250)[:, :250]

    heard = np.pad(hops, ((0, 0), (0, 6)))
    assert {gain.next(hop, 3 * hop) for hop in heard} == {1.0}


def test_gains_are_smooth():
    gain, random = TopGain(256, 16000), np.random.default_rng(0)
    gains = []
    for _ in range(500):
        hop = random.standard_normal(256).astype(np.float32)
        gains.append(gain.next(hop, hop * np.float32(random.choice([0.05, 1.0]))))
    steps = np.abs(np.diff(db(np.array(gains[20:]))))
    assert np.percentile(steps, 95) < 4


@pytest.mark.parametrize("full_band", [True, False])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, *RATES, 44099])
def test_live_gives_what_the_file_gives(tiny_float, noise_and_tone, rate, full_band):
    signal = noise_and_tone(rate)

    whole = offline(Enhancer(tiny_float), signal, rate, full_band=full_band)
    stream = live(Enhancer(tiny_float), signal, rate, full_band=full_band)

    np.testing.assert_allclose(stream, whole, atol=1e-5)


@pytest.fixture
def noise_and_tone():
    def make(rate):
        tone = 0.2 * np.sin(2 * np.pi * 440 / rate * np.arange(2 * rate))
        return (noise(rate, 2.0, level=0.02) + tone).astype(np.float32)

    return make


def test_blocks_of_any_length_give_the_same(tiny_float, noise_and_tone):
    signal = noise_and_tone(48000)

    expected = offline(Enhancer(tiny_float), signal, 48000, length=len(signal))
    found = offline(Enhancer(tiny_float), signal, 48000, length=333)

    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("way", [offline, live])
def test_without_it_nothing_above_the_band_comes_out(way):
    out = way(Scale(), noise(48000), 48000, full_band=False)

    assert out.shape == (48000,)
    assert np.std(noise_above(out)[3:7]) < 1e-5


def test_the_enhancer_takes_signals_of_any_rate(tiny_float, noise_and_tone):
    signal = noise_and_tone(48000)
    enhancer = Enhancer(tiny_float)

    np.testing.assert_array_equal(
        enhancer.enhance(signal, 48000), offline(enhancer, signal, 48000, length=len(signal))
    )
    same = signal[::3].copy()
    np.testing.assert_array_equal(enhancer.enhance(same, 16000), enhancer.enhance(same))
