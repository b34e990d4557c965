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

    Without `length` it is (frames - 1) * 256, what two frames cover; up to 256 more are of the last
    frame alone.
    """
    spectrum = torch.view_as_complex(spectrogram.contiguous()).transpose(1, 2)
    window = _window(spectrogram.device)
    frames = torch.fft.irfft(spectrum, WINDOW) * window
    # The squared window and its half-shifted self add up to one.
    samples = (frames[:, 1:, :HOP] + frames[:, :-1, HOP:]).flatten(1)
    if length is None or length <= samples.shape[1]:
        return samples[:, :length]
    rest = frames[:, -1, HOP:] / window[HOP:].square()
    return torch.cat([samples, rest], dim=1)[:, :length]


@lru_cache
def _window(device: torch.device) -> torch.Tensor:
    return torch.hann_window(WINDOW, device=device).sqrt()
