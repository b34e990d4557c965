import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_se import stft as stft_module
from edge_se.signal import square_root_hann
from edge_se.stft import Stft
from tests.helpers.tiny_model import SIGNAL


def stream(stft: Stft, samples: np.ndarray) -> np.ndarray:
    """Analysis straight into synthesis; the output lags by 256 samples."""
    output = np.empty_like(samples)
    for start in range(0, len(samples), 256):
        spectrum = stft.analyse(samples[start : start + 256])
        stft.synthesise(spectrum, output[start : start + 256])
    return output


def noise(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, 256 * frames).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_synthesis_gives_the_analysed_samples_back_one_hop_later(frames, seed):
    samples = noise(frames, seed)

    output = stream(Stft(SIGNAL), samples)

    expected = np.concatenate([np.zeros(256, np.float32), samples])[: len(samples)]
    np.testing.assert_allclose(output, expected, atol=1e-6)


def test_spectra_equal_those_of_the_whole_signal():
    samples, stft = noise(10), Stft(SIGNAL)
    padded = np.concatenate([np.zeros(256), samples])
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512))

    spectra = [stft.analyse(hop).copy() for hop in samples.reshape(10, 256)]

    offline = [np.fft.rfft(padded[256 * t : 256 * t + 512] * window) for t in range(10)]
    np.testing.assert_allclose(spectra, offline, atol=2e-5)


def test_reset_forgets_everything():
    stft, samples = Stft(SIGNAL), noise(8)
    first = stream(stft, samples)

    stft.reset()

    np.testing.assert_array_equal(stream(stft, samples), first)


def test_the_transforms_of_numpy_1_give_the_same_spectra(monkeypatch):
    samples = noise(6)
    expected = stream(Stft(SIGNAL), samples)
    monkeypatch.setattr(
        stft_module, "_fastest_transforms", lambda: (stft_module._rfft, stft_module._irfft)
    )

    np.testing.assert_allclose(stream(Stft(SIGNAL), samples), expected, atol=1e-6)


def test_synthesis_does_not_change_the_spectrum():
    stft = Stft(SIGNAL)
    spectrum = stft.analyse(noise(1))
    before = spectrum.copy()

    stft.synthesise(spectrum, np.empty(256, np.float32))

    np.testing.assert_array_equal(spectrum, before)


def test_the_window_s_square_sums_to_one_over_two_hops():
    window = square_root_hann(512)

    np.testing.assert_allclose(window[:256] ** 2 + window[256:] ** 2, 1, atol=1e-6)
