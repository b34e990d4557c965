"""Validation on fixed mixtures of speech and noise that training never hears."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from edge_se.signal import Signal
from quant.audio.mixing import Mixture, calibration_mixtures, loudest_part, random_part, rms
from quant.evaluation.metrics import MetricError, at_metrics_rate, pesq_wb, si_snr
from quant.training.data import Corpus
from quant.training.spectra import to_samples, to_spectrogram

SNRS_DB = (-2.5, 2.5, 7.5, 12.5)
LEVELS_DBFS = (-32.0, -26.0, -20.0)
WORST_PESQ = 1.0


@dataclass(frozen=True)
class Scores:
    """Means over the validation mixtures: PESQ-WB (ITU-T P.862.2, MOS-LQO) and SI-SNR in dB."""

    pesq: float
    si_snr: float

    def __str__(self) -> str:
        return f"PESQ-WB {self.pesq:.3f}, SI-SNR {self.si_snr:.2f} dB"


def validation_mixtures(
    speech: Corpus, noise: Corpus, count: int, seconds: float, seed: int
) -> list[Mixture]:
    """Mix `count` fixed mixtures of at most `seconds` from held-out speech and noise."""
    random = np.random.default_rng([seed, 0])
    rate = speech.rate
    parts: list[np.ndarray] = []
    while len(parts) < count:
        clip = speech.clips[len(parts) % len(speech.clips)].astype(np.float32) / 32768
        part = clip
        if len(clip) > seconds * rate:
            length = round(seconds * rate)
            part = max((random_part(clip, length, random) for _ in range(4)), key=rms)
            if not part.any():
                part = loudest_part(clip, length)
        parts.append(part)
    noises = [clip.astype(np.float32) / 32768 for clip in noise.clips]
    return calibration_mixtures(parts, noises, seed, SNRS_DB, LEVELS_DBFS)


def score_noisy(mixtures: list[Mixture], rate: int) -> Scores:
    """Score the mixtures, at so many Hz, as they are."""
    return score_signals([mixture.noisy for mixture in mixtures], mixtures, rate)


@torch.inference_mode()
def score_model(
    model: torch.nn.Module, signal: Signal, mixtures: list[Mixture], device: torch.device
) -> Scores:
    """Score a model's output on the mixtures that it hears so; it is left in evaluation mode."""
    model.eval()
    enhanced = []
    for mixture in mixtures:
        noisy = torch.from_numpy(mixture.noisy)[None].to(device)
        output = to_samples(model(to_spectrogram(noisy, signal)), signal, noisy.shape[-1])
        enhanced.append(output[0].cpu().numpy())
    return score_signals(enhanced, mixtures, signal.sample_rate)


@torch.inference_mode()
def score_enhancer(
    enhance: Callable[[torch.Tensor], torch.Tensor], mixtures: list[Mixture], rate: int
) -> Scores:
    """Score what turns noisy samples [mixtures, n] at `rate` Hz into enhanced ones, all at once.

    Short ones are padded with silence, which what comes before does not hear.
    """
    longest = max(len(mixture.noisy) for mixture in mixtures)
    noisy = [np.pad(mixture.noisy, (0, longest - len(mixture.noisy))) for mixture in mixtures]
    outputs = enhance(torch.from_numpy(np.stack(noisy).astype(np.float32))).numpy()
    pairs = zip(outputs, mixtures, strict=True)
    return score_signals(
        [output[: len(mixture.noisy)] for output, mixture in pairs], mixtures, rate
    )


def score_signals(enhanced: list[np.ndarray], mixtures: list[Mixture], rate: int) -> Scores:
    """Score signals at so many Hz, each enhanced from one of the mixtures."""
    pairs = [
        at_metrics_rate(rate, output, mixture.clean)
        for output, mixture in zip(enhanced, mixtures, strict=True)
    ]
    return Scores(
        pesq=float(np.mean([_pesq(output, clean) for output, clean in pairs])),
        si_snr=float(np.mean([si_snr(output, clean) for output, clean in pairs])),
    )


def _pesq(output: np.ndarray, clean: np.ndarray) -> float:
    try:
        return pesq_wb(output, clean)
    except MetricError:
        # A network in its first steps may put out something in which PESQ finds no speech at all.
        return WORST_PESQ
