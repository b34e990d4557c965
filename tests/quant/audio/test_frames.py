"""Clips in torch are framed as the frame loop frames them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edge_se.stft import Stft
from quant.audio.frames import analyse, apply_mask, features, front_end, heard, synthesize
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.ul_unas.model import SIGNAL as UL_UNAS


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


def test_features_are_the_logarithm_of_the_magnitude():
    spectra = torch.tensor([[30 + 40j, -0.01j, 0]])

    expected = torch.tensor([[[np.log10(50), -2, -12]]], dtype=torch.float32)
    torch.testing.assert_close(features(spectra, UL_UNAS), expected)


def test_a_gain_scales_what_the_network_takes_and_not_the_spectra():
    loud = torch.sin(torch.arange(32000.0))[None]

    for signal in (SIGNAL, UL_UNAS):
        spectra, taken = heard(loud, replace(signal, level_dbfs=-30.0))
        gain = front_end(loud, replace(signal, level_dbfs=-30.0))[1][0, -2]

        assert gain < 1
        expected = features(analyse(loud, signal)[:, -2] * gain, signal)
        torch.testing.assert_close(taken[:, -2], expected)
        torch.testing.assert_close(spectra, analyse(loud, signal))


def test_a_real_mask_is_a_gain():
    spectra, mask = torch.tensor([1 + 2j, 3j]), torch.tensor([[0.5, 2.0]])

    torch.testing.assert_close(apply_mask(spectra, mask, UL_UNAS), torch.tensor([0.5 + 1j, 6j]))


def test_mask_is_a_complex_ratio():
    spectra, mask = torch.tensor([1 + 2j]), torch.tensor([[0.0], [1.0]])

    torch.testing.assert_close(apply_mask(spectra, mask, SIGNAL), torch.tensor([-2 + 1j]))
