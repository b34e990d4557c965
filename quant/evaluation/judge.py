"""How near a quantized network's output is to the float network's, on clips set aside for that.

A file is judged by what it puts out, frame by frame, as on a device. A scope of which there is no
file is simulated. Nearness is an SNR to the float network; where the clean speech is
known, also what is lost in PESQ-WB, STOI and SI-SNR, paired clip by clip.
"""

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_se.enhancer import Enhancer
from edge_se.signal import Signal
from quant.audio.clips import CalibrationClips
from quant.audio.frames import analyse
from quant.audio.mixing import calibration_mixtures, gain_to
from quant.evaluation.metrics import WITH_CLEAN, MetricError, at_metrics_rate
from quant.graph.execute import Hook
from quant.graph.graph import Graph, Range
from quant.graph.recipes import Recipe
from quant.networks.checkpoint import Checkpoint
from quant.ptq.offline import enhance_offline
from quant.ptq.pipeline import CalibratedGraph, corrected, simulate

SNR_LIMIT_DB = 100.0
LEFT_OUT = 0.1  # of the clips, at either end of the losses
VOICE_DBFS = -26.0  # of each voice in a stream of several
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
        """`count` streams of `seconds`: clips one after the other, as states take seconds to fill.

        Clean clips, in an order drawn by `seed` and equally loud, are mixed with noise; they repeat
        where that takes more. Of noisy clips there are as many streams as they are enough for, one
        shorter one at least. A stream of silence is left out.
        """
        rate = clips.rate
        length = round(seconds * rate)
        if clips.noisy:
            streams = _streams((clip.samples for clip in clips.noisy), count, length)
            return JudgedClips(streams[streams.any(axis=1)], rate)
        random = np.random.default_rng(seed)
        rounds = (random.permutation(len(clips.clean)) for _ in itertools.count())
        order = (clips.clean[index] for indices in rounds for index in indices)
        voices = (clip.samples * gain_to(clip.samples, VOICE_DBFS) for clip in order)
        speech = [stream for stream in _streams(voices, count, length) if stream.any()]
        noise = [clip.samples for clip in clips.noise]
        mixtures = calibration_mixtures(speech, noise, seed)
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
        mean: over the clips but for the tenth that loses most and the tenth that gains most: a
            network may hear a clip quite otherwise for a rounded bit, in either direction.
        error: standard error of that mean (K. Yuen, Biometrika, 1974).
        clips: their number.
    """

    mean: float
    error: float
    clips: int

    @staticmethod
    def of(differences: np.ndarray) -> "Loss":
        """From float minus quantized per clip; NaN where a metric has no value."""
        found = np.sort(differences[np.isfinite(differences)])
        if not len(found):
            return Loss(np.nan, np.inf, 0)
        cut = int(LEFT_OUT * len(found))
        kept = found[cut : len(found) - cut]
        if len(found) == 1:
            return Loss(float(kept.mean()), np.inf, 1)
        spread = found.clip(kept[0], kept[-1]).std(ddof=1)
        error = spread * np.sqrt(len(found)) / len(kept)
        return Loss(float(kept.mean()), float(error), len(found))


def format_change(loss: float, standard_error: float) -> str:
    """A mean loss as a change, and in brackets its standard error."""
    return f"{-loss:+.3f} ({standard_error:.3f})"


@dataclass(frozen=True)
class Quality:
    """How near an output is to the float network's.

    Attributes:
        output_snr_db: SNR of the enhanced spectra to float's, mean over clips.
        compressed_snr_db: the same, compressed (see `compressed_snr`).
        losses: by metric, against the float network; empty without clean speech.
    """

    output_snr_db: float
    compressed_snr_db: float
    losses: dict[str, Loss]

    def to_dict(self) -> dict[str, Any]:
        """Means for JSON."""
        losses = {
            name: {"mean": loss.mean, "standard_error": loss.error, "clips": loss.clips}
            for name, loss in self.losses.items()
        }
        return vars(self) | {"losses": losses}


@dataclass(frozen=True)
class SimulatedQuality(Quality):
    """What a simulated network puts out.

    Attributes:
        mask_snr_db: SNR of the mask to float's, mean over clips.
    """

    mask_snr_db: float


class Judge:
    """Compares outputs for the same clips with the float network's."""

    def __init__(
        self, clips: JudgedClips, metrics: Sequence[str], spectra: Tensor, samples: np.ndarray
    ) -> None:
        """Score the float network.

        Args:
            clips: what is judged by, at the network's rate.
            metrics: names of `WITH_CLEAN` to score where clean speech is known.
            spectra: that float puts out, complex [clips, frames, bins].
            samples: of these, [clips, n], aligned with the clips.
        """
        self.clips = clips
        self.metrics = tuple(metrics) if clips.clean is not None else ()
        self._spectra = spectra
        self.float_scores = self._scores(samples)

    def compare(self, spectra: Tensor, samples: np.ndarray) -> Quality:
        """How near spectra and their samples, as of `__init__`, are to float's."""
        scores = self._scores(samples)
        return Quality(
            float(spectral_snr(spectra, self._spectra).mean()),
            float(compressed_snr(spectra, self._spectra).mean()),
            {name: Loss.of(self.float_scores[name] - found) for name, found in scores.items()},
        )

    def _scores(self, samples: np.ndarray) -> dict[str, np.ndarray]:
        """Of each clip by metric, NaN where it has none."""
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


class FileJudge(Judge):
    """Judges model files by what they put out, frame by frame."""

    def __init__(self, clips: JudgedClips, plain: bytes, metrics: Sequence[str] = ()) -> None:
        """Run the float network's file, `plain`; the rest is as for `Judge`."""
        super().__init__(clips, metrics, *_put_out(plain, clips))

    def measure(self, content: bytes) -> Quality:
        """Judge the file of that content."""
        return self.compare(*_put_out(content, self.clips))


class SimulationJudge(Judge):
    """Judges simulated networks."""

    def __init__(
        self, clips: JudgedClips, checkpoint: Checkpoint, metrics: Sequence[str] = ("pesq",)
    ) -> None:
        """Run the float network of a checkpoint; the rest is as for `Judge`."""
        self._noisy = torch.from_numpy(clips.noisy)
        expected = enhance_offline(checkpoint.step(), checkpoint.signal, self._noisy)
        self._mask = expected.mask.flatten(2)
        super().__init__(clips, metrics, expected.spectra, expected.samples.numpy())

    def measure(self, graph: Graph, signal: Signal, hook: Hook | None) -> SimulatedQuality:
        """Judge the network as it is with the hook, usually a `FakeQuantizer`.

        Args:
            graph: the network.
            signal: what it hears, at which level; the float network hears every level as it is.
            hook: sees its values.
        """
        found = enhance_offline(graph, signal, self._noisy, hook)
        quality = self.compare(found.spectra, found.samples.numpy())
        mask_snr_db = float(spectral_snr(found.mask.flatten(2), self._mask).mean())
        return SimulatedQuality(**vars(quality), mask_snr_db=mask_snr_db)


def _streams(clips: Iterable[np.ndarray], count: int, length: int) -> np.ndarray:
    """Clips one after the other, cut to at most `count` of `length`, or one shorter: [count, n]."""
    found: list[np.ndarray] = []
    missing = count * length
    for clip in clips:
        found.append(clip[:missing])
        missing -= len(found[-1])
        if not missing:
            break
    whole = np.concatenate(found)
    length = min(length, len(whole))
    pieces = len(whole) // length
    return whole[: pieces * length].reshape(pieces, length)


def _put_out(content: bytes, clips: JudgedClips) -> tuple[Tensor, np.ndarray]:
    """Spectra [clips, frames, bins] of what a model file makes of the clips, and samples."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        enhancer = Enhancer(path)
        samples = np.stack([enhancer.enhance(noisy) for noisy in clips.noisy])
    return analyse(torch.from_numpy(samples), enhancer.manifest.signal), samples


def measure(
    calibrated: CalibratedGraph, recipe: Recipe, ranges: dict[str, Range], judge: SimulationJudge
) -> SimulatedQuality:
    """Simulate and judge a recipe; the calibrated graph is left as it was."""
    with corrected(calibrated, recipe, ranges):
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
