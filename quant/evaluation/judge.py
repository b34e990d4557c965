"""How near a quantized network's output is to the float network's, on clips set aside for that.

Quantization is simulated, so that a recipe, a scope or a technique can be judged without a file.
Nearness is an SNR to the float network, of the mask and of the output; where the clean speech is
known, also what is lost in PESQ-WB, STOI and SI-SNR, paired clip by clip.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_se.signal import Signal
from quant.audio.clips import CalibrationClips
from quant.audio.mixing import calibration_mixtures
from quant.evaluation.metrics import WITH_CLEAN, MetricError, at_metrics_rate
from quant.graph.execute import Hook
from quant.graph.graph import Graph, Range
from quant.graph.recipes import Recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.offline import enhance_offline
from quant.ptq.pipeline import CalibratedGraph, corrected, simulate

SNR_LIMIT_DB = 100.0
COMPRESSION = 0.3
# Share of phase-aware error; the rest is of magnitudes alone (as in the training loss).
COMPLEX_SHARE = 0.3


@dataclass(frozen=True)
class JudgedClips:
    """Clips to judge by, equally long: noisy and, where it is known, clean; float32 [clips, n].

    Attributes:
        rate: in Hz.
        levels_dbfs: level of each clip.
        snrs_db: signal-to-noise ratio of each clip, where the clean speech is known.
    """

    noisy: np.ndarray
    rate: int
    clean: np.ndarray | None = None
    levels_dbfs: tuple[float, ...] = ()
    snrs_db: tuple[float, ...] = ()

    @staticmethod
    def of(clips: CalibrationClips, seed: int, count: int, seconds: float) -> "JudgedClips":
        """`count` mixtures drawn by `seed`, or at most so many of the noisy clips, the first ones.

        Voices repeat, with other noise, where there are fewer. Clips are cut to `seconds`, or to
        the shortest one's length.
        """
        rate = clips.rate
        samples = round(seconds * rate)
        if clips.noisy:
            found = [clip.samples for clip in clips.noisy[:count]]
            length = min(samples, *(len(clip) for clip in found))
            return JudgedClips(np.stack([clip[:length] for clip in found]), rate)
        random = np.random.default_rng(seed)
        voices = len(clips.clean)
        rounds, rest = divmod(count, voices)
        order = [*range(voices)] * rounds + sorted(random.permutation(voices)[:rest])
        speech = [clips.clean[index].samples for index in order]
        length = min(samples, *(len(clip) for clip in speech))
        noise = [clip.samples for clip in clips.noise]
        mixtures = calibration_mixtures([clip[:length] for clip in speech], noise, seed)
        return JudgedClips(
            np.stack([mixture.noisy for mixture in mixtures]),
            rate,
            np.stack([mixture.clean for mixture in mixtures]),
            tuple(mixture.level_dbfs for mixture in mixtures),
            tuple(mixture.snr_db for mixture in mixtures),
        )

    def first(self, count: int, seconds: float) -> "JudgedClips":
        """The beginning of the first clips."""
        samples = round(seconds * self.rate)
        clean = None if self.clean is None else self.clean[:count, :samples]
        levels, snrs = self.levels_dbfs[:count], self.snrs_db[:count]
        return JudgedClips(self.noisy[:count, :samples], self.rate, clean, levels, snrs)


@dataclass(frozen=True)
class Loss:
    """Paired losses against float.

    Attributes:
        mean: over the clips; what one gains makes up for what another loses.
        error: standard error of the mean.
        clips: their number.
    """

    mean: float
    error: float
    clips: int

    @staticmethod
    def of(differences: np.ndarray) -> "Loss":
        """From float minus quantized per clip; NaN where a metric has no value."""
        found = differences[np.isfinite(differences)]
        if not len(found):
            return Loss(np.nan, np.inf, 0)
        error = found.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.inf
        return Loss(float(found.mean()), float(error), len(found))


def format_change(loss: float, standard_error: float) -> str:
    """A mean loss as a change, and in brackets its standard error."""
    return f"{-loss:+.3f} ({standard_error:.3f})"


@dataclass(frozen=True)
class Quality:
    """What a simulated network puts out.

    Attributes:
        mask_snr_db: SNR of the mask to float's, mean over clips.
        output_snr_db: the same of the enhanced spectra.
        compressed_snr_db: the same, compressed (see `compressed_snr`).
        scores: by metric, each clip's score, NaN where it has none; empty without clean speech.
        losses: by metric, against the float network.
        enhanced: the samples [clips, n].
    """

    mask_snr_db: float
    output_snr_db: float
    compressed_snr_db: float
    scores: dict[str, np.ndarray]
    losses: dict[str, Loss]
    enhanced: np.ndarray

    def to_dict(self) -> dict:
        """Means for JSON."""
        return {
            "mask_snr_db": self.mask_snr_db,
            "output_snr_db": self.output_snr_db,
            "compressed_snr_db": self.compressed_snr_db,
            "losses": {
                name: {
                    "mean": loss.mean,
                    "standard_error": loss.error,
                    "clips": loss.clips,
                }
                for name, loss in self.losses.items()
            },
        }


class Judge:
    """Judges simulated networks by the same clips, against one float network."""

    def __init__(
        self,
        clips: JudgedClips,
        checkpoint: Checkpoint,
        metrics: Sequence[str] = ("pesq",),
    ) -> None:
        """Run the float network.

        Args:
            clips: what to judge by, at the network's rate.
            checkpoint: the float network.
            metrics: names of `WITH_CLEAN` to score where clean speech is known.
        """
        self.clips = clips
        self.metrics = tuple(metrics) if clips.clean is not None else ()
        self._noisy = torch.from_numpy(clips.noisy)
        self._mask, self._output, self.reference = self._run(
            checkpoint.step(), checkpoint.signal, None
        )
        self.float_scores = self.score(self.reference)

    def measure(self, graph: Graph, signal: Signal, hook: Hook | None) -> Quality:
        """Judge the network as it is with the hook, usually a `FakeQuantizer`.

        Args:
            graph: the network.
            signal: what it hears, at which level; the float network hears every level as it is.
            hook: sees its values.
        """
        mask, output, enhanced = self._run(graph, signal, hook)
        scores = self.score(enhanced)
        return Quality(
            mask_snr_db=float(spectral_snr(mask, self._mask).mean()),
            output_snr_db=float(spectral_snr(output, self._output).mean()),
            compressed_snr_db=float(compressed_snr(output, self._output).mean()),
            scores=scores,
            losses={
                name: Loss.of(self.float_scores[name] - found) for name, found in scores.items()
            },
            enhanced=enhanced,
        )

    def score(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Scores of samples [clips, n] by metric, NaN where a clip has none."""
        return {name: self._score(name, samples) for name in self.metrics}

    def _score(self, metric: str, samples: np.ndarray) -> np.ndarray:
        assert self.clips.clean is not None
        scores = np.full(len(samples), np.nan)
        for index, (enhanced, clean) in enumerate(zip(samples, self.clips.clean, strict=True)):
            try:
                scores[index] = WITH_CLEAN[metric](
                    *at_metrics_rate(self.clips.rate, enhanced, clean)
                )
            except MetricError:
                continue  # stays NaN: the clip has no score and no part in the mean
        return scores

    def _run(
        self, graph: Graph, signal: Signal, hook: Hook | None
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Masks [clips, frames, values], enhanced spectra [clips, frames, bins] and samples."""
        mask, spectra, samples = enhance_offline(graph, signal, self._noisy, hook)
        return mask.flatten(2), spectra, samples.numpy()


def measure(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: dict[str, Range], judge: Judge
) -> Quality:
    """Judge a recipe; the calibrated graph is left as it was."""
    with corrected(calibrated, recipe, ranges):
        return judge_corrected(calibrated, recipe, ranges, judge)


def judge_corrected(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: dict[str, Range], judge: Judge
) -> Quality:
    """Judge a recipe whose biases are corrected already."""
    hook = simulate(calibrated, recipe, ranges)
    return judge.measure(calibrated.graph, calibrated.signal, hook)


def compressed_snr(spectra: Tensor, reference: Tensor) -> Tensor:
    """SNR [clips] in dB of spectra [clips, frames, bins] to a reference's, both compressed.

    Compression by the power 0.3 makes soft sounds count beside loud ones, as ears do.
    """
    magnitude, wanted = (x.abs().clamp_min(1e-6) for x in (spectra, reference))
    power = COMPRESSION - 1
    error = (spectra * magnitude**power - reference * wanted**power).abs().square().mean((1, 2))
    difference = (magnitude**COMPRESSION - wanted**COMPRESSION).square().mean((1, 2))
    noise = COMPLEX_SHARE * error + (1 - COMPLEX_SHARE) * difference
    return 10 * torch.log10((wanted ** (2 * COMPRESSION)).mean((1, 2)) / noise.clamp_min(1e-20))


def spectral_snr(estimate: Tensor, reference: Tensor) -> Tensor:
    """SNR [clips] in dB, at most 100, of [clips, frames, values], real or complex."""
    error = (estimate - reference).abs().square().sum((1, 2))
    signal = reference.abs().square().sum((1, 2))
    ratio = 10 * torch.log10(signal.clamp_min(1e-20) / error.clamp_min(1e-20))
    return ratio.clamp(-SNR_LIMIT_DB, SNR_LIMIT_DB)
