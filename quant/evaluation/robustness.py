"""How a model file holds up where quantization usually hurts: levels, silence, long running.

Real files run through the frame loop, a quantized one beside the float one: clips at levels from
very soft to very loud, speech after silence, and one minute looped for ten without a reset. States
that sit at an end of their range are counted all the while.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_se.benchmark import frames_of
from edge_se.enhancer import Enhancer
from quant.audio.mixing import gain_to, level_dbfs, recorded
from quant.evaluation.judge import JudgedClips, Loss
from quant.evaluation.metrics import MetricError, Samples, at_metrics_rate, pesq_wb, snr

LEVELS_DBFS = (-45.0, -35.0, -25.0, -15.0, -10.0)
SILENCE_S = 3.0
MINUTES = 10
STATES_EVERY = 25  # frames

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Case:
    """Clips in one condition.

    Attributes:
        name: the condition.
        level_dbfs: mean level of the noisy clips.
        pesq_loss: float minus quantized, paired; None without clean speech.
        snr_db: of the quantized output to the float one, mean over clips.
    """

    name: str
    level_dbfs: float
    pesq_loss: Loss | None
    snr_db: float


@dataclass(frozen=True)
class Robustness:
    """Results of `measure_robustness`.

    Attributes:
        levels: the clips at each level.
        silence: the clips after silence.
        minutes_db: SNR to float of each minute of the looped one.
        saturation: by state, the share of its values that sit at an end of their range, while the
            minutes ran; empty for float states.
    """

    levels: tuple[Case, ...]
    silence: Case
    minutes_db: tuple[float, ...]
    saturation: dict[str, float]

    @property
    def drift_db(self) -> float:
        """By how much the last minute's SNR differs from the second's."""
        return self.minutes_db[-1] - self.minutes_db[min(1, len(self.minutes_db) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "drift_db": self.drift_db}


def measure_robustness(
    float_file: Path,
    quantized_file: Path,
    clips: JudgedClips,
    minutes: int = MINUTES,
    progress: Progress = lambda stage, done, total: None,
) -> Robustness:
    """Run both files through all conditions.

    Args:
        float_file: model file in float.
        quantized_file: model file of the same network.
        clips: what to play, not used for calibration; at the files' rate.
        minutes: for how long to loop one minute.
        progress: told how many conditions are done.
    """
    reference, model = Enhancer(float_file), Enhancer(quantized_file)
    cases, total = [], len(LEVELS_DBFS) + 2
    for done, level in enumerate(LEVELS_DBFS):
        noisy, clean = _at_level(clips, level)
        cases.append(_compare(reference, model, f"{level:g} dBFS", noisy, clean, 0))
        progress("robustness", done + 1, total)
    before = round(SILENCE_S * model.sample_rate)
    noisy = [np.concatenate([np.zeros(before, np.float32), clip]) for clip in clips.noisy]
    name = f"after {SILENCE_S:g} s of silence"
    silence = _compare(reference, model, name, noisy, _rows(clips.clean), before)
    progress("robustness", total - 1, total)
    minute = np.resize(np.concatenate(list(clips.noisy)), 60 * model.sample_rate)
    ratios, saturation = _loop(reference, model, minute, minutes)
    progress("robustness", total, total)
    return Robustness(tuple(cases), silence, ratios, saturation)


def _rows(array: np.ndarray | None) -> list[np.ndarray] | None:
    return None if array is None else list(array)


def _at_level(clips: JudgedClips, level: float) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Noisy and clean clips with the noisy ones at a level; peaks are cut off at full scale."""
    noisy, clean = [], []
    for index, clip in enumerate(clips.noisy):
        gain = gain_to(clip, level)
        # As a microphone would, and for both models: the integers of a fixed path do it anyway.
        noisy.append(np.clip(clip * gain, -1, 1))
        if clips.clean is not None:
            clean.append(clips.clean[index] * gain)
    return noisy, clean if clips.clean is not None else None


def _compare(
    reference: Enhancer,
    model: Enhancer,
    name: str,
    noisy: Sequence[np.ndarray],
    clean: Sequence[np.ndarray] | None,
    skipped: int,
) -> Case:
    """Compare both on clips, of which the first samples are not scored."""
    ratios, losses = [], []
    for index, clip in enumerate(noisy):
        # As a board puts them out, and a fixed path cannot but: that takes some of soft sounds.
        expected, found = (recorded(each.enhance(clip)[skipped:]) for each in (reference, model))
        ratios.append(snr(found, expected))
        if clean is not None:
            rate = model.sample_rate
            losses.append(_pesq(rate, expected, clean[index]) - _pesq(rate, found, clean[index]))
    level = float(np.mean([level_dbfs(clip[skipped:]) for clip in noisy]))
    loss = Loss.of(np.array(losses)) if clean is not None else None
    return Case(name, level, loss, float(np.mean(ratios)))


def _pesq(rate: int, enhanced: Samples, clean: Samples) -> float:
    """PESQ-WB, or NaN where it has no value; `Loss` leaves such clips out and counts the rest."""
    try:
        return pesq_wb(*at_metrics_rate(rate, enhanced, clean))
    except MetricError:
        return float("nan")


def _loop(
    reference: Enhancer, model: Enhancer, minute: np.ndarray, minutes: int
) -> tuple[tuple[float, ...], dict[str, float]]:
    """SNR to float of each minute, states carried from one to the next, and state saturation."""
    frames = frames_of(minute.astype(np.float32), model.hop_size)
    sizes = {state.name: int(np.prod(state.shape)) for state in model.manifest.states}
    counts, looks, ratios = dict.fromkeys(sizes, 0), 0, []
    outputs = [np.empty_like(frames) for _ in range(2)]
    for _ in range(minutes):
        for enhancer, output in zip((reference, model), outputs, strict=True):
            for index, (frame, out) in enumerate(zip(frames, output, strict=True)):
                enhancer.process(frame, out)
                if enhancer is model and index % STATES_EVERY == 0:
                    looks += 1
                    for name, count in model.states.saturated().items():
                        counts[name] += count
        ratios.append(snr(outputs[1].ravel(), outputs[0].ravel()))
    reference.reset()
    model.reset()
    quantized = [state.name for state in model.manifest.states if state.dtype != "float32"]
    shares = {name: counts[name] / (looks * sizes[name]) for name in quantized}
    return tuple(ratios), shares
