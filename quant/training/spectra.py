"""Whole-clip STFT of training and validation: centred frames, as upstream trains."""

from functools import lru_cache

import torch

from edge_se.signal import Signal
from quant.audio.frames import overlap_add, windows


def to_spectrogram(samples: torch.Tensor, signal: Signal) -> torch.Tensor:
    """Transform samples [batch, n] to a spectrogram [batch, bins, 1 + n // hop, 2] (real, imag)."""
    shape = _window(samples.device, signal)
    spectrum = torch.stft(
        samples, signal.points, signal.hop, signal.window, shape, return_complex=True
    )
    return torch.view_as_real(spectrum)


def to_samples(
    spectrogram: torch.Tensor, signal: Signal, length: int | None = None
) -> torch.Tensor:
    """Transform a spectrogram [batch, bins, frames, 2] back to samples [batch, length].

    Without `length` it is (frames - 1) * hop, from the first frame's centre to the last one's; up
    to half a window more are of the last frames alone.
    """
    window, hop = signal.window, signal.hop
    spectrum = torch.view_as_complex(spectrogram.contiguous()).transpose(1, 2)
    shape = _window(spectrum.device, signal)
    frames = torch.fft.irfft(spectrum, signal.points)[..., signal.windowed] * shape
    count = frames.shape[1]
    first, length = window // 2, (count - 1) * hop if length is None else length
    part = slice(first, first + length)
    weights = overlap_add(shape.square().expand(1, count, window), hop)
    return overlap_add(frames, hop)[:, part] / weights[:, part]


@lru_cache
def _window(device: torch.device, signal: Signal) -> torch.Tensor:
    """Of the analysis, and of the synthesis up to the sum of its squares."""
    return windows(signal)[0].to(device)
