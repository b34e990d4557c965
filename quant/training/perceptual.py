"""Perceptual loss: the disturbance that PESQ hears, as a differentiable function of spectra.

Follows J. M. Martín-Doñas, A. M. Gomez, J. A. Gonzalez, A. M. Peinado, "A deep learning loss
function based on the perceptual evaluation of the speech quality", IEEE Signal Processing Letters,
2018, which takes the auditory model of ITU-T P.862 (level alignment, Bark bands, equalization of
frequencies and gains, loudness, symmetric and asymmetric disturbance) without its alignment in
time, since the output of frame t is compared with the clean frame t. Bands and thresholds are
computed (E. Zwicker's and E. Terhardt's formulas) instead of taken from the recommendation.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from edge_se.signal import Signal
from quant.training.losses import hybrid_loss

BANDS = 49
# Listening level, dB SPL, and the band in which a signal's power is brought to it.
LEVEL_DB = 79.0
LEVEL_BAND_HZ = (350.0, 3250.0)
# Corner of the high pass before everything else.
HIGH_PASS_HZ = 200.0
LOUDNESS_SCALE = 0.1866
ZWICKER_EXPONENT = 0.23
# P.862 joins frames of 20, half overlapping, by their 6-norm, and those by their 2-norm.
SPAN, SPAN_HOP, SPAN_NORM = 20, 10, 6.0
SYMMETRIC_WEIGHT = 0.1
ASYMMETRIC_WEIGHT = 0.0309
# Of the perceptual loss beside the hybrid one where a network imitates another.
IMITATION_WEIGHT = 2.0


@dataclass(frozen=True)
class _Hearing:
    """The auditory model's tables, as tensors: `bands` [49, 257], the others [49, 1]."""

    bands: Tensor
    level_bins: Tensor
    widths: Tensor
    threshold: Tensor
    exponent: Tensor


def perceptual_loss(enhanced: Tensor, clean: Tensor, signal: Signal) -> Tensor:
    """Return how far the enhanced speech falls below PESQ's best raw score.

    Args:
        enhanced: spectrogram [batch, bins, frames, 2], real and imaginary.
        clean: spectrogram of the same shape.
        signal: whose transform they are of.

    Returns:
        0.1 times the symmetric plus 0.0309 times the asymmetric disturbance, the mean over the
        batch, a scalar: P.862's 4.5 minus the raw score, as far as the model goes.
    """
    hearing = _hearing(enhanced.device, signal)
    degraded, reference = _bark_power(enhanced, hearing), _bark_power(clean, hearing)
    heard = _audible(reference, hearing, 100.0)
    active = (heard > 1e7).to(heard.dtype)
    reference = reference * _frequency_response(degraded, reference, active)
    degraded = degraded * _gain(degraded, reference, hearing)
    given, wanted = _loudness(degraded, hearing), _loudness(reference, hearing)
    masked = 0.25 * torch.minimum(given, wanted)
    disturbance = torch.relu((given - wanted).abs() - masked)
    asymmetry = ((degraded + 50) / (reference + 50)).pow(1.2)
    asymmetry = torch.where(asymmetry < 3, torch.zeros_like(asymmetry), asymmetry.clamp(max=12))
    weighted = disturbance * hearing.widths
    symmetric = weighted.square().sum(1).add(1e-8).sqrt() * hearing.widths.sum().sqrt()
    asymmetric = (weighted * asymmetry).sum(1)
    # Loud frames count a little less.
    importance = ((heard + 1e5) / 1e7).pow(0.04)
    symmetric = (symmetric / importance).clamp(max=45)
    asymmetric = (asymmetric / importance).clamp(max=45)
    score = SYMMETRIC_WEIGHT * _over_time(symmetric) + ASYMMETRIC_WEIGHT * _over_time(asymmetric)
    return score.mean()


def imitation_loss(rounded: Tensor, wanted: Tensor, signal: Signal) -> Tensor:
    """How far what a rounded network puts out is from what the float one does, to the ear too.

    Args:
        rounded: spectrogram [batch, bins, frames, 2], real and imaginary.
        wanted: spectrogram of the same shape.
        signal: whose transform they are of.
    """
    heard = perceptual_loss(rounded, wanted, signal)
    return hybrid_loss(rounded, wanted, signal) + IMITATION_WEIGHT * heard


def _bark_power(spectrogram: Tensor, hearing: _Hearing) -> Tensor:
    """Bring a spectrogram to the listening level and add up its bands: [batch, 49, frames]."""
    power = spectrogram.square().sum(-1)
    level = (power * hearing.level_bins).sum(1).mean(-1)[:, None, None]
    return hearing.bands @ (power * (10 ** (LEVEL_DB / 10) / (level + 1e-10)))


def _audible(power: Tensor, hearing: _Hearing, factor: float) -> Tensor:
    """Power of the bands above `factor` times the threshold of hearing, [batch, frames]."""
    return torch.where(power > factor * hearing.threshold, power, torch.zeros_like(power)).sum(1)


def _frequency_response(degraded: Tensor, reference: Tensor, active: Tensor) -> Tensor:
    """By what the average spectra differ, [batch, 49, 1]: filtering within 20 dB is forgiven."""
    weight = active[:, None, :]
    ratio = ((degraded * weight).mean(-1) + 1000) / ((reference * weight).mean(-1) + 1000)
    return ratio.clamp(0.01, 100.0)[..., None]


def _gain(degraded: Tensor, reference: Tensor, hearing: _Hearing) -> Tensor:
    """By what frames differ in gain, smoothed over time, [batch, 1, frames]: slow changes."""
    ratio = (_audible(reference, hearing, 1.0) + 5e3) / (_audible(degraded, hearing, 1.0) + 5e3)
    previous = torch.cat([ratio[:, :1], ratio[:, :-1]], dim=1)
    return (0.2 * previous + 0.8 * ratio).clamp(3e-4, 5.0)[:, None, :]


def _loudness(power: Tensor, hearing: _Hearing) -> Tensor:
    """Zwicker's loudness density of the bands, in sone per Bark."""
    relative = 0.5 + 0.5 * power / hearing.threshold
    scale = LOUDNESS_SCALE * (hearing.threshold / 0.5).pow(hearing.exponent)
    return torch.relu(scale * (relative.pow(hearing.exponent) - 1))


def _over_time(disturbance: Tensor) -> Tensor:
    """Join the disturbances of frames [batch, frames] to one each, [batch]."""
    spans = disturbance.unfold(-1, min(SPAN, disturbance.shape[-1]), SPAN_HOP)
    joined = (spans + 1e-6).pow(SPAN_NORM).mean(-1).pow(1 / SPAN_NORM)
    return joined.square().mean(-1).sqrt()


@lru_cache
def _hearing(device: torch.device, signal: Signal) -> _Hearing:
    frequencies = (
        torch.arange(signal.bins, dtype=torch.float64) * signal.sample_rate / signal.points
    )
    high_pass = frequencies**4 / (frequencies**4 + HIGH_PASS_HZ**4)
    bark = 13 * torch.atan(0.00076 * frequencies) + 3.5 * torch.atan((frequencies / 7500) ** 2)
    width = float(bark[-1]) / BANDS
    band = (bark / width).long().clamp(max=BANDS - 1)
    bands = torch.nn.functional.one_hot(band, BANDS).double().T * high_pass
    centre = (torch.arange(BANDS, dtype=torch.float64) + 0.5) * width
    # The lowest frequency of hearing stands for the bin at 0 Hz, whose threshold is infinite.
    kilohertz = frequencies.clamp(min=30) / 1000
    quietest_db = (
        3.64 * kilohertz**-0.8
        - 6.5 * torch.exp(-0.6 * (kilohertz - 3.3) ** 2)
        + 1e-3 * kilohertz**4
    )
    members = torch.nn.functional.one_hot(band, BANDS).double()
    # With a short window some bands have no bin: they are never heard.
    threshold = 10 ** ((members.T @ quietest_db) / members.sum(0).clamp(min=1) / 10)
    steeper = (6 / (centre + 2)).clamp(1.0, 2.0).pow(0.15)
    low, high = LEVEL_BAND_HZ
    level_bins = ((frequencies >= low) & (frequencies <= high)).double()

    def ready(table: Tensor) -> Tensor:
        return table.to(torch.float32).to(device)

    return _Hearing(
        bands=ready(bands),
        level_bins=ready(level_bins[:, None]),
        widths=ready(torch.full((BANDS, 1), width, dtype=torch.float64)),
        threshold=ready(threshold[:, None]),
        exponent=ready((ZWICKER_EXPONENT * steeper)[:, None]),
    )
