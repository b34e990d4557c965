"""How a model file stands what happens to microphones: knocks, levels, DC, hum, silence, clipping.

Real files run through the frame loop, in any engine, on what a recorder of 16 bits makes of noisy
clips. A knock is judged by how long the output is another than without it, everything else by
the SI-SNR that it costs, where the clean speech is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from edge_se.chunks import AlignedStream
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError
from quant.audio.mixing import gain_to, recorded
from quant.evaluation.judge import Loss
from quant.evaluation.metrics import Samples, si_snr

CLIPS, SECONDS = 6, 6.0  # at most; of longer clips the part that is loudest
USUAL_DBFS, SOFT_DBFS = -25.0, -45.0
LEVELS_DBFS = (-65.0, -60.0, -50.0, SOFT_DBFS, -35.0, USUAL_DBFS, -15.0, -10.0, -5.0, 0.0)
SILENCE_S = 120.0
# When knocks end: states have settled before the longest. Then so long as the slowest took.
END_S, AFTER_S = 6.0, 13.0
WINDOW_S = 0.05
TOLERANCE_DB = 3.0
LATE_S = 0.3  # after which nothing is to be left of a knock
# A window holds speech where the undisturbed output is within so much of its loud windows.
SPEECH_DB, LOUD_PERCENTILE = 25.0, 95.0
FLOOR = 1e-10  # -100 dBFS, below which nothing is heard
TOO_LOUD_DB = 30.0
HUM_HZ, HUM_HARMONICS = 50.0, 7

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Knock:
    """Something far too loud in a stream.

    Attributes:
        name: What it is.
        seconds: How long it lasts.
        wave: Turns the samples in its place, at so many Hz, into it; both float32 [n].
    """

    name: str
    seconds: float
    wave: Callable[[Samples, int], Samples]


@dataclass(frozen=True)
class Recovery:
    """What comes after a knock.

    Attributes:
        knock: Its name.
        ms: From its end until the output stays within 3 dB of that of an undisturbed run; None
            where it does not within 13 s.
        farthest_db: The largest difference from then on.
        differences_db: Level of the output against that run's in each window of 50 ms, mean over
            the clips that have speech there; NaN where none has.
    """

    knock: str
    ms: float | None
    farthest_db: float
    differences_db: tuple[float, ...]

    @property
    def late_windows(self) -> int:
        """How many windows are off by more than 3 dB, of those that begin `LATE_S` after it."""
        late = np.array(self.differences_db[round(LATE_S / WINDOW_S) :], np.float64)
        return int(np.count_nonzero(np.abs(late) > TOLERANCE_DB))


@dataclass(frozen=True)
class Condition:
    """Clips in one condition.

    Attributes:
        name: Of the condition.
        level_dbfs: Of the noisy clips before anything was done to them.
        noisy_db: SI-SNR of what the model hears, mean over clips.
        enhanced_db: SI-SNR of the output.
        loss: Paired, in dB, against the same level undisturbed; of levels against -25 dBFS.
    """

    name: str
    level_dbfs: float
    noisy_db: float
    enhanced_db: float
    loss: Loss


@dataclass(frozen=True)
class Stress:
    """Results of `measure_stress`.

    Attributes:
        clips: How many were used.
        recoveries: After each knock.
        conditions: Levels first; none without clean speech.
    """

    clips: int
    recoveries: tuple[Recovery, ...]
    conditions: tuple[Condition, ...]

    @property
    def levels(self) -> tuple[Condition, ...]:
        """The undisturbed clips at each level."""
        return self.conditions[: len(LEVELS_DBFS)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _square(samples: Samples, rate: int) -> Samples:
    return np.where(_phase(len(samples), rate, 100.0) % 1 < 0.5, 1.0, -1.0)


def _sine(samples: Samples, rate: int) -> Samples:
    return np.sin(2 * np.pi * _phase(len(samples), rate, 440.0))


def _click(samples: Samples, rate: int) -> Samples:
    return np.ones(len(samples))


def _too_loud(samples: Samples, rate: int) -> Samples:
    return samples * 10 ** (TOO_LOUD_DB / 20)


KNOCKS = (
    Knock("click of 1 ms", 0.001, _click),
    Knock("square, 0.25 s", 0.25, _square),
    Knock("square, 1 s", 1.0, _square),
    Knock("sine, 1 s", 1.0, _sine),
    Knock("speech 30 dB too loud, 0.25 s", 0.25, _too_loud),
    Knock("speech 30 dB too loud, 4 s", 4.0, _too_loud),
)


def _with_dc(samples: Samples, rate: int, offset: float) -> Samples:
    return samples + offset


def _with_hum(samples: Samples, rate: int, level_dbfs: float) -> Samples:
    phase = 2 * np.pi * _phase(len(samples), rate, HUM_HZ)
    orders = range(1, HUM_HARMONICS + 1)
    hum = np.sum([np.sin(phase * order) / order for order in orders], axis=0)
    return samples + hum * gain_to(hum, level_dbfs)


def _clipped(samples: Samples, rate: int, share: float) -> Samples:
    limit = np.quantile(np.abs(samples), 1 - share)
    return np.clip(samples, -limit, limit)


def _untouched(samples: Samples, rate: int) -> Samples:
    return samples


# Name, level, and what happens to the samples; the levels come first.
_CASES: tuple[tuple[str, float, Callable[[Samples, int], Samples]], ...] = (
    *((f"{level:g} dBFS", level, _untouched) for level in LEVELS_DBFS),
    ("DC of 0.05", USUAL_DBFS, partial(_with_dc, offset=0.05)),
    ("DC of 0.05, soft speech", SOFT_DBFS, partial(_with_dc, offset=0.05)),
    ("DC of 0.3", USUAL_DBFS, partial(_with_dc, offset=0.3)),
    ("DC of 0.5", USUAL_DBFS, partial(_with_dc, offset=0.5)),
    ("hum at -35 dBFS", USUAL_DBFS, partial(_with_hum, level_dbfs=-35.0)),
    ("hum at -20 dBFS", USUAL_DBFS, partial(_with_hum, level_dbfs=-20.0)),
    ("1 % of samples clipped", USUAL_DBFS, partial(_clipped, share=0.01)),
    ("10 % of samples clipped", USUAL_DBFS, partial(_clipped, share=0.1)),
)


def measure_stress(
    model: Enhancer,
    noisy: Sequence[Samples],
    clean: Sequence[Samples] | None,
    silence_s: float = SILENCE_S,
    progress: Progress = lambda stage, done, total: None,
    stage: str = "stress",
) -> Stress:
    """Run a model through all knocks and conditions; 10 to 30 s with a usual model.

    Args:
        model: Reset before and after.
        noisy: Clips at its rate, float32 [n] each; `CLIPS` of them are used, silent ones never.
        clean: The speech in each; None where it is not known.
        silence_s: How long nothing is heard before speech.
        progress: Told how far the stage is.
        stage: What it is called.

    Raises:
        UserError: All clips are silent.
    """
    used = _chosen(noisy, clean or noisy, model.sample_rate)
    clips, speech = [clip for clip, _ in used], [true for _, true in used]
    total = len(KNOCKS) + (len(_CASES) + 1 if clean is not None else 0)
    streams = _streams(clips, model.sample_rate)
    undisturbed_levels = np.stack([_levels_after(model, stream) for stream in streams])
    recoveries = []
    for knock in KNOCKS:
        recoveries.append(_recovery(model, knock, streams, undisturbed_levels))
        progress(stage, len(recoveries), total)
    if clean is None:
        return Stress(len(clips), tuple(recoveries), ())

    found: list[tuple[str, float, np.ndarray, np.ndarray]] = []

    def score(name: str, level: float, heard: list[Samples], outputs: list[Samples]) -> None:
        found.append((name, level, _si_snrs(heard, speech), _si_snrs(outputs, speech)))
        progress(stage, len(KNOCKS) + len(found), total)

    for name, level, disturb in _CASES:
        heard = [recorded(disturb(at_level(clip, level), model.sample_rate)) for clip in clips]
        score(name, level, heard, [_enhanced(model, clip) for clip in heard])
    heard = [recorded(at_level(clip, USUAL_DBFS)) for clip in clips]
    outputs = [_after_silence(model, clip, silence_s) for clip in heard]
    score(f"after {format_seconds(silence_s)} of silence", USUAL_DBFS, heard, outputs)
    undisturbed = {level: after for _, level, _, after in found[: len(LEVELS_DBFS)]}
    conditions = (
        Condition(
            name,
            level,
            float(before.mean()),
            float(after.mean()),
            Loss.of(undisturbed[USUAL_DBFS if index < len(LEVELS_DBFS) else level] - after),
        )
        for index, (name, level, before, after) in enumerate(found)
    )
    return Stress(len(clips), tuple(recoveries), tuple(conditions))


def at_level(samples: Samples, level_dbfs: float) -> Samples:
    """Samples at a mean level."""
    return samples * gain_to(samples, level_dbfs)


def format_seconds(seconds: float) -> str:
    """A time in words: "3 min", "90 s"."""
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"


def _chosen(
    noisy: Sequence[Samples], clean: Sequence[Samples], rate: int
) -> list[tuple[Samples, Samples]]:
    """Clips from all over a set, with the speech in them: their loudest parts."""
    parts = [_loudest(true, rate) for true in clean]
    pairs = [(clip[p], true[p]) for clip, true, p in zip(noisy, clean, parts, strict=True)]
    heard = [(clip, true) for clip, true in pairs if clip.any() and true.any()]
    if not heard:
        raise UserError("all clips are silent; give clips with speech in them")
    count = min(CLIPS, len(heard))
    return [heard[len(heard) * index // count] for index in range(count)]


def _si_snrs(found: Sequence[Samples], clean: Sequence[Samples]) -> np.ndarray:
    return np.array([si_snr(*each) for each in zip(found, clean, strict=True)])


def _enhanced(model: Enhancer, samples: Samples) -> Samples:
    return recorded(model.enhance(samples))


def _after_silence(model: Enhancer, samples: Samples, seconds: float) -> Samples:
    """The output of a clip after so many seconds of zeros, which may be hours: in blocks."""
    stream, left = AlignedStream(model), round(seconds * model.sample_rate)
    silence = np.zeros(2**16, np.float32)
    while left > 0:
        stream.push(silence[:left])
        left -= len(silence)
    output = np.concatenate([stream.push(samples), stream.finish()])
    return recorded(output[len(output) - len(samples) :])


def _streams(clips: Sequence[Samples], rate: int) -> list[Samples]:
    """Streams for knocks: all clips one after the other, each in turn the first."""
    length = round(END_S * rate) + round(AFTER_S * rate)
    levelled = [at_level(clip, USUAL_DBFS) for clip in clips]
    orders = [[*levelled[index:], *levelled[:index]] for index in range(len(levelled))]
    return [np.resize(np.concatenate(order), length) for order in orders]


def _levels_after(model: Enhancer, stream: Samples) -> np.ndarray:
    """Level of the output in dBFS in each window from the knock's end on."""
    size = round(WINDOW_S * model.sample_rate)
    output = _enhanced(model, recorded(stream))[round(END_S * model.sample_rate) :]
    windows = output[: len(output) // size * size].reshape(-1, size).astype(np.float64)
    levels: np.ndarray = 10 * np.log10(np.square(windows).mean(1) + FLOOR)
    return levels


def _recovery(
    model: Enhancer, knock: Knock, streams: Sequence[Samples], undisturbed: np.ndarray
) -> Recovery:
    """After a knock in each stream, against levels [streams, windows] without it."""
    rate, rows = model.sample_rate, []
    end = round(END_S * rate)
    start = end - max(1, round(knock.seconds * rate))
    for stream, expected in zip(streams, undisturbed, strict=True):
        knocked = stream.copy()
        knocked[start:end] = knock.wave(stream[start:end], rate)
        is_speech = expected > np.percentile(expected, LOUD_PERCENTILE) - SPEECH_DB
        rows.append(np.where(is_speech, _levels_after(model, knocked) - expected, np.nan))
    differences = _mean(np.stack(rows))
    far = np.flatnonzero(np.abs(differences) > TOLERANCE_DB)
    spoken = np.flatnonzero(np.isfinite(differences))
    last = int(far[-1]) if len(far) else -1
    return Recovery(
        knock.name,
        None if last == spoken[-1] else round(1000 * WINDOW_S * (last + 1)),
        float(differences[np.nanargmax(np.abs(differences))]),
        tuple(float(value) for value in differences),
    )


def _mean(rows: np.ndarray) -> np.ndarray:
    """Mean [n] of what is there of rows [clips, n]; NaN where nothing is."""
    there = np.isfinite(rows)
    sums, counts = np.where(there, rows, 0).sum(0), there.sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _loudest(samples: Samples, rate: int) -> slice:
    """Where the loudest `SECONDS` of a clip are."""
    length = round(SECONDS * rate)
    if len(samples) <= length:
        return slice(0, len(samples))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return slice(start, start + length)


def _phase(count: int, rate: int, hertz: float) -> np.ndarray:
    """Turns [n] of an oscillation."""
    return np.arange(count) * (hertz / rate)
