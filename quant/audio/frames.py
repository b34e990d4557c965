"""Whole clips as the frame loop hears them: the same frames, features and overlap-add, in torch.

The loop starts from zeros: frame t ends with the samples of hop t.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_se.level import FloatFrontEnd
from edge_se.signal import LEAST_MAGNITUDE, Signal, hann

MAGNITUDE_FLOOR = 1e-12  # added to the squared magnitude
# Logarithm of a magnitude below which lie hardly any bins of what 16-bit samples hold.
SOFTEST = -5.0
# `edge_se.signal.WINDOW_FUNCTIONS` as torch computes them, in float32: upstream trains with these.
WINDOW_FUNCTIONS: Mapping[str, Callable[[int], Tensor]] = {
    "square_root_hann": lambda window: torch.hann_window(window).sqrt(),
    # Where the features are logarithms, torch's own rounding of it shows in weak bins.
    "hann": lambda window: torch.from_numpy(hann(window)).float(),
    "hamming": torch.hamming_window,
}


def windows(signal: Signal) -> tuple[Tensor, Tensor]:
    """Windows of analysis and of synthesis, float32 [window] each."""
    analysis = WINDOW_FUNCTIONS[signal.window_function](signal.window)
    return analysis, analysis / torch.from_numpy(signal.overlap()).float()


def frame_count(samples: int, signal: Signal) -> int:
    """Frames that `analyse` gives for so many samples."""
    return -(-samples // signal.hop) + -(-signal.window // signal.hop) - 1


def analyse(samples: Tensor, signal: Signal) -> Tensor:
    """Samples [clips, n] to spectra [clips, frames, bins], complex; the last hop is zero-padded.

    As many frames more than hops as it takes for the last hop's samples to be complete after
    overlap-add: one for a window of two hops.
    """
    window, hop = signal.window, signal.hop
    frames = frame_count(samples.shape[-1], signal)
    before, after = signal.windowed.start, signal.points - signal.windowed.stop
    rest = frames * hop - samples.shape[-1]
    padded = F.pad(samples, (before + window - hop, rest + after))
    shape, _ = windows(signal)
    spectra = torch.stft(
        padded, signal.points, hop, window, shape, center=False, return_complex=True
    )
    return spectra.transpose(1, 2)


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Frames [clips, frames, window], a hop apart, added up: [clips, n]."""
    window = frames.shape[2]
    size = (frames.shape[1] - 1) * hop + window
    return F.fold(frames.transpose(1, 2), (1, size), (1, window), stride=(1, hop))[:, 0, 0]


def synthesize(spectra: Tensor, length: int, signal: Signal) -> Tensor:
    """Spectra [clips, frames, bins] to samples [clips, length], aligned with the analysed ones."""
    window, hop = signal.window, signal.hop
    frames = torch.fft.irfft(spectra, signal.points)[..., signal.windowed]
    whole = overlap_add(frames * windows(signal)[1], hop)
    return whole[:, window - hop : window - hop + length]


def magnitude_real_imaginary(spectra: Tensor) -> Tensor:
    """Spectra [..., bins] to their magnitude, real and imaginary part [..., 3, bins]."""
    real, imaginary = spectra.real, spectra.imag
    magnitude = torch.sqrt(real.square() + imaginary.square() + MAGNITUDE_FLOOR)
    return torch.stack([magnitude, real, imaginary], dim=-2)


def log_magnitude(spectra: Tensor) -> Tensor:
    """Spectra [..., bins] to the logarithm of their magnitude, to the base 10, [..., 1, bins]."""
    return spectra.abs().clamp(min=LEAST_MAGNITUDE).log10()[..., None, :]


def complex_mask(spectra: Tensor, mask: Tensor) -> Tensor:
    """Spectra [..., bins] times a complex ratio mask [..., 2, bins]."""
    return spectra * torch.complex(mask[..., 0, :], mask[..., 1, :])


def real_mask(spectra: Tensor, mask: Tensor) -> Tensor:
    """Spectra [..., bins] times gains [..., 1, bins]."""
    return spectra * mask[..., 0, :]


# What `edge_se.signal` names; separators have their own, in `quant.separation`.
FEATURES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "magnitude_real_imaginary": magnitude_real_imaginary,
    "log_magnitude": log_magnitude,
}
MASKS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "complex": complex_mask,
    "real": real_mask,
}


def features(spectra: Tensor, signal: Signal) -> Tensor:
    """Spectra [..., bins] to a network's input [..., rows, bins]; see `FEATURE_ROWS`."""
    return FEATURES[signal.features](spectra)


def front_end(samples: Tensor, signal: Signal) -> tuple[Tensor, Tensor]:
    """Samples as the frame loop's front end hands them on, and gains of the features alone.

    Args:
        samples: [clips, n].
        signal: whose front end it is; without one samples stay as they are, and gains are ones.

    Returns:
        Samples [clips, n] and what spectra are multiplied by for the features, [clips, frames].
    """
    hop, count = signal.hop, samples.shape[-1]
    frames = frame_count(count, signal)
    if signal.level_dbfs is None:
        return samples, torch.ones(len(samples), frames)
    hops = F.pad(samples, (0, frames * hop - count)).unflatten(-1, (frames, hop)).clone()
    exponents = np.empty(hops.shape[:2], np.float32)
    for clip, clip_hops in enumerate(hops.numpy()):
        take_in = FloatFrontEnd(signal)
        for frame, newest in enumerate(clip_hops):
            newest[...], exponents[clip, frame] = take_in(newest)
    return hops.flatten(1)[:, :count], torch.from_numpy(np.exp2(exponents))


def heard(samples: Tensor, signal: Signal) -> tuple[Tensor, Tensor]:
    """Spectra [clips, frames, bins] and what the network takes of them, [..., rows, bins]."""
    samples, gains = front_end(samples, signal)
    spectra = analyse(samples, signal)
    return spectra, features(spectra * gains[..., None], signal)


def heard_in_calibration(samples: Tensor, signal: Signal) -> Tensor:
    """What `heard` gives the network, no logarithm lower than of the softest sound of 16 bits.

    That of digital silence lies far below, and would claim a range that no sound reaches. An 8-bit
    file hears it as its lowest step.
    """
    taken = heard(samples, signal)[1]
    return taken.clamp(min=SOFTEST) if signal.features == "log_magnitude" else taken


def apply_mask(spectra: Tensor, mask: Tensor, signal: Signal, lookahead: int = 0) -> Tensor:
    """Spectra [..., frames, bins] masked by [..., frames, rows, bins]; see `MASK_ROWS`.

    A mask that lags by `lookahead` frames meets the spectra of so many frames ago, zeros at first.
    """
    if lookahead:
        delayed = spectra.roll(lookahead, dims=-2)
        delayed[..., :lookahead, :] = 0
        spectra = delayed
    return MASKS[signal.mask](spectra, mask)
