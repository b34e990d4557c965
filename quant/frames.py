"""Whole clips as the frame loop sees them: the same frames, features and overlap-add, in torch.

The loop starts from zeros: frame t holds the samples of hop t - 1 and of hop t.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from quant.models.gtcrn import HOP, MAGNITUDE_FLOOR, WINDOW


def analyse(samples: Tensor) -> Tensor:
    """Samples [clips, n] to spectra [clips, frames, 257], complex; the last hop is zero-padded.

    One frame more than hops, so that the last hop's samples are complete after overlap-add.
    """
    hops = -(-samples.shape[-1] // HOP)
    padded = F.pad(samples, (WINDOW - HOP, (hops + 1) * HOP - samples.shape[-1]))
    window = _window()
    spectra = torch.stft(padded, WINDOW, HOP, WINDOW, window, center=False, return_complex=True)
    return spectra.transpose(1, 2)


def synthesize(spectra: Tensor, length: int) -> Tensor:
    """Spectra [clips, frames, 257] to samples [clips, length], aligned with the analysed ones."""
    frames = torch.fft.irfft(spectra, WINDOW) * _window()
    size = (frames.shape[1] - 1) * HOP + WINDOW
    whole = F.fold(frames.transpose(1, 2), (1, size), (1, WINDOW), stride=(1, HOP))[:, 0, 0]
    return whole[:, WINDOW - HOP : WINDOW - HOP + length]


def features(spectra: Tensor) -> Tensor:
    """Spectra [..., 257] to a network's input [..., 3, 257]: magnitude, real, imaginary."""
    real, imaginary = spectra.real, spectra.imag
    magnitude = torch.sqrt(real.square() + imaginary.square() + MAGNITUDE_FLOOR)
    return torch.stack([magnitude, real, imaginary], dim=-2)


def apply_mask(spectra: Tensor, mask: Tensor) -> Tensor:
    """Spectra [..., 257] times the complex ratio mask [..., 2, 257]."""
    return spectra * torch.complex(mask[..., 0, :], mask[..., 1, :])


def _window() -> Tensor:
    return torch.hann_window(WINDOW).sqrt()
