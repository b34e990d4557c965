"""Clips in torch are framed as the frame loop frames them."""

import numpy as np
import pytest
import torch

from edge_se.stft import Stft
from quant.audio.frames import analyse, apply_mask, features, synthesize
from quant.networks.gtcrn.model import SIGNAL


@pytest.fixture
def samples():
    return torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))


def test_spectra_are_those_of_the_frame_loop(samples):
    loop = Stft(SIGNAL)
    hops = torch.nn.functional.pad(samples[0], (0, 20 * 256 - 5000)).reshape(20, 256).numpy()

    expected = np.stack([loop.analyse(hop).copy() for hop in hops])

    np.testing.assert_allclose(analyse(samples, SIGNAL)[0, :20].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("length", [5000, 4864, 256, 1])
def test_synthesis_gives_the_analysed_samples_back(samples, length):
    clip = samples[:, :length]

    torch.testing.assert_close(
        synthesize(analyse(clip, SIGNAL), length, SIGNAL), clip, atol=1e-5, rtol=0
    )


def test_one_frame_more_than_hops(samples):
    assert analyse(samples, SIGNAL).shape == (2, 21, 257)


def test_features_are_magnitude_real_and_imaginary():
    spectra = torch.tensor([[3 + 4j, -5j]])

    expected = torch.tensor([[[5.0, 5], [3, 0], [4, -5]]])
    torch.testing.assert_close(features(spectra, SIGNAL), expected)


def test_mask_is_a_complex_ratio():
    spectra, mask = torch.tensor([1 + 2j]), torch.tensor([[0.0], [1.0]])

    torch.testing.assert_close(apply_mask(spectra, mask, SIGNAL), torch.tensor([-2 + 1j]))
