"""Whole-clip STFT of training and validation: centred frames, as upstream trains."""

from functools import lru_cache

import torch

from edge_se.signal import Signal
from quant.audio.frames import windows


def to_spectrogram(samples: torch.Tensor, signal: Signal) -> torch.Tensor:
    """Transform samples [batch, n] to a spectrogram [batch, bins, 1 + n // hop, 2] (real, imag)."""
    shape, _ = _windows(samples.device, signal)
    window = signal.window
    spectrum = torch.stft(samples, window, signal.hop, window, shape, return_complex=True)
    return torch.view_as_real(spectrum)


def to_samples(
    spectrogram: torch.Tensor, signal: Signal, length: int | None = None
) -> torch.Tensor:
    """Transform a spectrogram [batch, bins, frames, 2] back to samples [batch, length].

    Without `length` it is (frames - 1) * hop, what two frames cover; up to a hop more are of the
    last frame alone.
    """
    hop = signal.hop
    spectrum = torch.view_as_complex(spectrogram.contiguous()).transpose(1, 2)
    analysis, synthesis = _windows(spectrogram.device, signal)
    frames = torch.fft.irfft(spectrum, signal.window) * synthesis
    # The windows' product and its half-shifted self add up to one.
    samples = (frames[:, 1:, :hop] + frames[:, :-1, hop:]).flatten(1)
    if length is None or length <= samples.shape[1]:
        return samples[:, :length]
    rest = frames[:, -1, hop:] / (analysis * synthesis)[hop:]
    return torch.cat([samples, rest], dim=1)[:, :length]


@lru_cache
def _windows(device: torch.device, signal: Signal) -> tuple[torch.Tensor, torch.Tensor]:
    """Of analysis and of synthesis."""
    analysis, synthesis = windows(signal)
    return analysis.to(device), synthesis.to(device)
