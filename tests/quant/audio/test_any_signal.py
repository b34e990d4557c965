"""The host's frames of any signal are the frame loop's, and give the samples back."""

import numpy as np
import pytest
import torch

from edge_se.signal import Signal
from edge_se.stft import Stft
from quant.audio.frames import analyse, synthesize, windows
from quant.training.spectra import to_samples, to_spectrogram
from tests.helpers.signals import SIGNALS, name, noise


@pytest.fixture(params=SIGNALS, ids=name)
def signal(request) -> Signal:
    return request.param


@pytest.mark.parametrize("count", [5000, 4800, 7])
def test_torch_frames_are_those_of_the_loop_and_give_the_samples_back(signal, count):
    samples, stft = noise(count), Stft(signal)
    spectra = analyse(torch.from_numpy(samples)[None], signal)
    padded = np.zeros(spectra.shape[1] * signal.hop, np.float32)
    padded[:count] = samples

    loop = [stft.analyse(hop).copy() for hop in padded.reshape(-1, signal.hop)]

    np.testing.assert_allclose(spectra[0].numpy(), loop, atol=1e-4)
    again = synthesize(spectra, count, signal)[0].numpy()
    np.testing.assert_allclose(again, samples, atol=2e-6)


def test_spectrograms_of_training_give_the_samples_back(signal):
    samples = torch.from_numpy(noise(6000))[None]

    spectrogram = to_spectrogram(samples, signal)

    again = to_samples(spectrogram, signal, 6000)
    usual = to_samples(spectrogram, signal)
    assert usual.shape == (1, 6000 // signal.hop * signal.hop)
    # The last samples are those of a last frame's end, where its window is nearly nothing.
    torch.testing.assert_close(again[:, :5800], samples[:, :5800], atol=1e-5, rtol=0)
    torch.testing.assert_close(usual, again[:, : usual.shape[1]])


def test_windows_of_torch_are_the_runtime_s(signal):
    analysis, synthesis = (window.numpy() for window in windows(signal))

    # Torch computes its windows in float32, and upstream trains with those.
    np.testing.assert_allclose(analysis, signal.analysis_window(), rtol=0, atol=5e-6)
    np.testing.assert_allclose(synthesis, signal.synthesis_window(), rtol=0, atol=5e-6)
