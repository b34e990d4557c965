"""Whole clips as the frame loop sees them: the same frames, features and overlap-add, in torch.

The loop starts from zeros: frame t holds the samples of hop t - 1 and of hop t.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_se.level import LevelNormalizer, hop_energy
from quant.networks.gtcrn.model import HOP, MAGNITUDE_FLOOR, WINDOW


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


def frame_gains(samples: Tensor, level_dbfs: float | None) -> Tensor:
    """The features' gain in each frame of `analyse`: samples [clips, n] to [clips, frames].

    As the frame loop normalizes the level to `level_dbfs`; all ones for None.
    """
    hops = -(-samples.shape[-1] // HOP) + 1
    if level_dbfs is None:
        return torch.ones(len(samples), hops)
    padded = F.pad(samples, (0, hops * HOP - samples.shape[-1])).unflatten(-1, (hops, HOP))
    exponents = np.empty(padded.shape[:2], np.float32)
    for clip, clip_hops in enumerate(padded.numpy()):
        normalizer = LevelNormalizer(level_dbfs)
        exponents[clip] = [normalizer(hop_energy(hop)) for hop in clip_hops]
    return torch.from_numpy(np.exp2(exponents))


def heard(samples: Tensor, level_dbfs: float | None) -> tuple[Tensor, Tensor]:
    """Spectra [clips, frames, 257] and what the network takes of them [clips, frames, 3, 257]."""
    spectra = analyse(samples)
    return spectra, features(spectra) * frame_gains(samples, level_dbfs)[..., None, None]


def apply_mask(spectra: Tensor, mask: Tensor, lookahead: int = 0) -> Tensor:
    """Spectra [..., frames, 257] times the complex ratio mask [..., frames, 2, 257].

    A mask that lags by `lookahead` frames meets the spectra of so many frames ago, zeros at first.
    """
    if lookahead:
        delayed = spectra.roll(lookahead, dims=-2)
        delayed[..., :lookahead, :] = 0
        spectra = delayed
    return spectra * torch.complex(mask[..., 0, :], mask[..., 1, :])


def _window() -> Tensor:
    return torch.hann_window(WINDOW).sqrt()
