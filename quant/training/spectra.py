"""Whole-clip STFT of training and validation: 512 window, 256 hop, periodic square-root Hann."""

from functools import lru_cache

import torch

WINDOW = 512
HOP = 256


def to_spectrogram(samples: torch.Tensor) -> torch.Tensor:
    """Transform samples [batch, n] to a spectrogram [batch, 257, 1 + n // 256, 2] (real, imag)."""
    window = _window(samples.device)
    spectrum = torch.stft(samples, WINDOW, HOP, WINDOW, window, return_complex=True)
    return torch.view_as_real(spectrum)


def to_samples(spectrogram: torch.Tensor, length: int | None = None) -> torch.Tensor:
    """Transform a spectrogram [batch, 257, frames, 2] back to samples [batch, length].

    Without `length` it is (frames - 1) * 256.
    """
    spectrum = torch.view_as_complex(spectrogram.contiguous())
    return torch.istft(spectrum, WINDOW, HOP, WINDOW, _window(spectrogram.device), length=length)


@lru_cache
def _window(device: torch.device) -> torch.Tensor:
    return torch.hann_window(WINDOW, device=device).sqrt()
