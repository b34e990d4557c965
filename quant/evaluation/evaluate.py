"""Scores of an enhancer over noisy clips whose clean speech is known."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from quant.evaluation.metrics import (
    WITH_CLEAN,
    MetricError,
    Samples,
    at_metrics_rate,
    load_dnsmos,
    si_snr,
    snr,
)
from quant.evaluation.pairs import Pair

# Samples [n] in, enhanced samples [n] out, aligned in time: `Enhancer.enhance`, for example.
Enhance = Callable[[Samples], Samples]
# Metric name to value; a metric that is not defined for a clip is absent.
Scores = dict[str, float]

BUCKET_DB = 5.0
BOOTSTRAP_DRAWS = 10_000

# What a metric gave, by its name and a digest of the signals: what many files are compared with is
# scored once.
_VALUES: dict[tuple[str, bytes], float] = {}


@dataclass(frozen=True)
class ClipResult:
    """Scores of one clip.

    Attributes:
        name: The pair's.
        seconds: Length.
        snr_db: The pair's, or else the SI-SNR of the noisy clip.
        noise_type: The pair's.
        level_dbfs: The pair's.
        scores: Of `noisy`, `enhanced` and, where there is one, `reference`.
        snr_to_reference_db: SNR of the enhanced clip against the reference's output.
        failures: Metrics that have no value here, each with its system and reason.
    """

    name: str
    seconds: float
    snr_db: float
    noise_type: str | None
    level_dbfs: float | None
    scores: dict[str, Scores]
    snr_to_reference_db: float | None
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Means over some clips.

    A metric's mean is taken over the clips where every system has it, so that the systems can be
    compared; `counts` says how many those are.
    """

    label: str
    clips: int
    means: dict[str, Scores]
    counts: dict[str, int]
    snr_to_reference_db: float | None


@dataclass(frozen=True)
class Difference:
    """Mean paired difference, enhanced minus reference, with its bootstrap 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class EvaluationResult:
    """Per clip, per SNR bucket (5 dB wide, around multiples of 5) and overall."""

    clips: tuple[ClipResult, ...]
    buckets: tuple[Summary, ...]
    overall: Summary
    differences: dict[str, Difference] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every metric without a value, by clip."""
        return tuple(f"{clip.name}: {reason}" for clip in self.clips for reason in clip.failures)

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {**asdict(self), "failures": list(self.failures)}


@dataclass(frozen=True)
class _Job:
    """One clip's signals by system, ready to be scored in any process."""

    rate: int
    clean: Samples
    signals: dict[str, Samples]
    metrics: tuple[str, ...]
    dnsmos: Path | None


def evaluate_pairs(
    enhance: Enhance,
    pairs: Sequence[Pair],
    *,
    reference: Enhance | None = None,
    metrics: Sequence[str] = tuple(WITH_CLEAN),
    dnsmos: Path | None = None,
    score_noisy: bool = True,
    processes: int = 1,
    progress: bool = False,
    seed: int = 0,
) -> EvaluationResult:
    """Enhances every noisy clip and scores it.

    Args:
        enhance: Float samples [n] in, [n] out, aligned in time; called in this process, in order.
        pairs: At least one.
        reference: Another enhancer to score and to compare with.
        metrics: Names from `WITH_CLEAN`.
        dnsmos: DNSMOS model file, to score with it as well.
        score_noisy: Also score the noisy clips themselves.
        processes: How many processes score; more than one are started afresh (spawned).
        progress: Show a progress bar on stderr.
        seed: Of the bootstrap.

    Raises:
        ValueError: There is no pair, or an output is not as long as its input.
        UserError: The DNSMOS model can't be loaded.
    """
    if not pairs:
        raise ValueError("there are no pairs to evaluate")
    if dnsmos is not None:
        load_dnsmos(dnsmos)  # so that a wrong file is told before any work is done

    def job(pair: Pair) -> _Job:
        signals = {"noisy": pair.noisy} if score_noisy else {}
        signals["enhanced"] = _enhanced(enhance, pair)
        if reference is not None:
            signals["reference"] = _enhanced(reference, pair)
        return _Job(pair.rate, pair.clean, signals, tuple(metrics), dnsmos)

    results = _score_all(map(job, pairs), processes)
    if progress:
        from tqdm import tqdm

        results = tqdm(results, total=len(pairs), unit="clip", desc="evaluating")
    clips = tuple(_clip_result(pair, *result) for pair, result in zip(pairs, results, strict=True))
    return EvaluationResult(
        clips,
        _buckets(clips),
        summarize("all", clips),
        _differences(clips, seed) if reference is not None else {},
    )


def summarize(label: str, clips: Sequence[ClipResult]) -> Summary:
    """Means over `clips`."""
    systems = list(clips[0].scores)
    names = [name for name in _names(clips) if _complete(clips, name)]
    complete = {name: _complete(clips, name) for name in names}
    means = {
        system: {
            name: float(np.mean([clip.scores[system][name] for clip in complete[name]]))
            for name in names
        }
        for system in systems
    }
    ratios = [c.snr_to_reference_db for c in clips if c.snr_to_reference_db is not None]
    return Summary(
        label,
        len(clips),
        means,
        {name: len(complete[name]) for name in names},
        float(np.mean(ratios)) if ratios else None,
    )


def bucket_db(snr_db: float) -> int:
    """Centre of the SNR bucket that a clip falls into, in dB."""
    return round(BUCKET_DB * math.floor(snr_db / BUCKET_DB + 0.5))


def bootstrap_difference(differences: Sequence[float] | np.ndarray, seed: int) -> Difference:
    """Mean of paired differences with its 95 % percentile bootstrap interval (Efron, 1979)."""
    values = np.asarray(differences, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (BOOTSTRAP_DRAWS, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return Difference(float(values.mean()), float(low), float(high))


def _enhanced(enhance: Enhance, pair: Pair) -> Samples:
    output = np.asarray(enhance(pair.noisy))
    if output.shape != pair.noisy.shape:
        raise ValueError(
            f"{pair.name}: {pair.noisy.shape} samples in, {output.shape} enhanced samples out"
        )
    return output


_Scored = tuple[dict[str, Scores], float | None, tuple[str, ...]]


def _score_all(jobs: Iterator[_Job], processes: int) -> Iterator[_Scored]:
    if processes == 1:
        yield from map(_score, jobs)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_score, jobs)


def _score(job: _Job) -> _Scored:
    scores: dict[str, Scores] = {}
    failures: list[str] = []
    for system, signal in job.signals.items():
        samples, clean = at_metrics_rate(job.rate, signal, job.clean)
        scores[system] = {}
        for name in job.metrics:
            try:
                scores[system][name] = _value(name, samples, clean)
            except MetricError as error:
                failures.append(f"{system}: {error}")
        if job.dnsmos is not None:
            try:
                scores[system] |= load_dnsmos(job.dnsmos)(samples)
            except MetricError as error:
                failures.append(f"{system}: {error}")
    ratio = None
    if "reference" in job.signals:
        try:
            ratio = snr(job.signals["enhanced"], job.signals["reference"])
        except MetricError as error:
            failures.append(f"reference: {error}")
    return scores, ratio, tuple(failures)


def _value(name: str, samples: Samples, clean: Samples) -> float:
    key = name, hashlib.sha256(samples.tobytes() + clean.tobytes()).digest()
    if key not in _VALUES:
        _VALUES[key] = WITH_CLEAN[name](samples, clean)
    return _VALUES[key]


def _clip_result(
    pair: Pair, scores: dict[str, Scores], ratio: float | None, failures: tuple[str, ...]
) -> ClipResult:
    return ClipResult(
        name=pair.name,
        seconds=len(pair.noisy) / pair.rate,
        snr_db=pair.snr_db if pair.snr_db is not None else si_snr(pair.noisy, pair.clean),
        noise_type=pair.noise_type,
        level_dbfs=pair.level_dbfs,
        scores=scores,
        snr_to_reference_db=ratio,
        failures=failures,
    )


def _buckets(clips: Sequence[ClipResult]) -> tuple[Summary, ...]:
    by_centre: dict[int, list[ClipResult]] = defaultdict(list)
    for clip in clips:
        by_centre[bucket_db(clip.snr_db)].append(clip)
    return tuple(summarize(f"{centre} dB", by_centre[centre]) for centre in sorted(by_centre))


def _differences(clips: Sequence[ClipResult], seed: int) -> dict[str, Difference]:
    return {
        name: bootstrap_difference(
            [c.scores["enhanced"][name] - c.scores["reference"][name] for c in complete], seed
        )
        for name in _names(clips)
        if (complete := _complete(clips, name))
    }


def _names(clips: Sequence[ClipResult]) -> list[str]:
    return list(dict.fromkeys(n for c in clips for scores in c.scores.values() for n in scores))


def _complete(clips: Sequence[ClipResult], name: str) -> list[ClipResult]:
    return [clip for clip in clips if all(name in scores for scores in clip.scores.values())]
