"""The block-wise transform of long recordings: centred frames, exact inverse, any blocks."""

import numpy as np
import pytest

from edge_se.offline_stft import Analysis, Synthesis
from edge_se.signal import Signal, hann

SIZES = [(512, 256), (512, 128), (128, 40)]


def signal(length: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(length).standard_normal((length, channels)).astype(np.float32)


def analyse(samples, n_fft, hop, block):
    analysis = Analysis(Signal(8000, n_fft, hop, "hann"), samples.shape[1])
    parts = [
        analysis.push(samples[start : start + block]) for start in range(0, len(samples), block)
    ]
    return np.concatenate([*parts, analysis.finish()])


@pytest.mark.parametrize(("n_fft", "hop"), SIZES)
@pytest.mark.parametrize("length", [1, 511, 2048, 5003])
def test_synthesis_gives_the_samples_back(n_fft, hop, length):
    samples = signal(length)
    spectra = analyse(samples, n_fft, hop, 700)
    synthesis = Synthesis(Signal(8000, n_fft, hop, "hann"), 2)

    parts = [synthesis.push(spectra[start : start + 3]) for start in range(0, len(spectra), 3)]
    output = np.concatenate([*parts, synthesis.finish()])

    assert length <= len(output) < length + hop
    np.testing.assert_allclose(output[:length], samples, atol=2e-6)


def test_frames_are_centred_on_their_hop():
    samples, n_fft, hop = signal(3000, 1), 512, 256
    padded = np.concatenate([np.zeros((256, 1)), samples, np.zeros((1024, 1))])[:, 0]

    spectra = analyse(samples, n_fft, hop, 3000)

    assert len(spectra) == 1 + 12
    for frame, spectrum in enumerate(spectra):
        expected = np.fft.rfft(padded[frame * hop : frame * hop + n_fft] * hann(n_fft))
        np.testing.assert_allclose(spectrum[:, 0], expected, atol=1e-4)


def test_blocks_do_not_matter():
    samples = signal(4000)
    np.testing.assert_array_equal(analyse(samples, 512, 128, 4000), analyse(samples, 512, 128, 333))
