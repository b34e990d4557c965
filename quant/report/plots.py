"""Pictures of a report, as PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quant.evaluation.evaluate import Summary
from quant.evaluation.robustness import Robustness
from quant.evaluation.stress import TOLERANCE_DB, WINDOW_S, Stress

COLOURS = {"noisy": "#adb5bd", "reference": "#4c6ef5", "enhanced": "#e8590c"}
NAMES = {"noisy": "noisy", "reference": "float", "enhanced": "quantized"}
SPAN_DB = 70.0
# Of systems, at most as many as `evaluate` compares, and of knocks.
LINES = ("-", "--")
KNOCK_COLOURS = ("#adb5bd", "#4c6ef5", "#1c3faa", "#2b8a3e", "#f08c00", "#c92a2a")


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _plain(axes: Any, axis: str = "y") -> None:
    axes.grid(axis=axis, color="#e9ecef")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


def spectrograms(signals: Mapping[str, np.ndarray], rate: int) -> bytes:
    """Signals (float32 [n], at so many Hz) one under the other, on one scale in dB."""
    figure = _figure(9, 1.75 * len(signals))
    all_axes = figure.subplots(len(signals), 1, sharex=True)
    top, image = None, None
    for axes, (name, samples) in zip(all_axes, signals.items(), strict=True):
        spectrum = _spectrogram(samples)
        top = spectrum.max() if top is None else top
        image = axes.imshow(
            spectrum,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=top - SPAN_DB,
            vmax=top,
            extent=(0, len(samples) / rate, 0, rate / 2000),
        )
        axes.set_ylabel("kHz")
        axes.set_title(name, loc="left", fontsize=10)
    all_axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=all_axes, label="dB", pad=0.01)
    return _png(figure)


def _spectrogram(samples: np.ndarray) -> np.ndarray:
    """Level in dB of [257, frames]."""
    window = np.hanning(512)
    starts = range(0, len(samples) - 512, 128)
    frames = np.stack([samples[start : start + 512] * window for start in starts])
    return 20 * np.log10(np.abs(np.fft.rfft(frames)).T + 1e-6)


def quality(buckets: Sequence[Summary], levels: Sequence[Summary]) -> bytes:
    """PESQ-WB of noisy, float and quantized by SNR and by level."""
    figure = _figure(9, 3)
    by_snr, by_level = figure.subplots(1, 2, sharey=True)
    for axes, summaries, label in (
        (by_snr, buckets, "SNR of the input"),
        (by_level, levels, "level of the input"),
    ):
        _bars(axes, summaries)
        axes.set_xlabel(label)
        _plain(axes)
    by_snr.set_ylabel("PESQ-WB")
    by_snr.legend(frameon=False, loc="upper left")
    return _png(figure)


def _bars(axes: Any, summaries: Sequence[Summary]) -> None:
    for offset, system in zip((-0.27, 0.0, 0.27), COLOURS, strict=True):
        heights = [summary.means[system].get("pesq", np.nan) for summary in summaries]
        positions = np.arange(len(summaries)) + offset
        axes.bar(positions, heights, width=0.25, color=COLOURS[system], label=NAMES[system])
    axes.set_xticks(range(len(summaries)), [summary.label for summary in summaries])
    axes.set_ylim(bottom=1.0)


def robustness(found: Robustness) -> bytes:
    """PESQ against float at each level, and SNR to float of each looped minute."""
    figure = _figure(9, 2.8)
    levels, minutes = figure.subplots(1, 2)
    cases = [*found.levels, found.silence]
    names = [*(f"{case.level_dbfs:.0f}" for case in found.levels), "silence,\nspeech"]
    if cases[0].pesq_loss is not None:
        means = [-case.pesq_loss.mean for case in cases if case.pesq_loss is not None]
        errors = [case.pesq_loss.error for case in cases if case.pesq_loss is not None]
        levels.bar(names, means, yerr=errors, color="#e8590c", width=0.6, ecolor="#868e96")
        levels.axhline(-0.1, color="#c92a2a", linewidth=1, linestyle="--")
        levels.axhline(0.0, color="#868e96", linewidth=1)
        levels.set_ylabel("PESQ-WB against float")
    else:
        levels.bar(names, [case.snr_db for case in cases], color="#4c6ef5", width=0.6)
        levels.set_ylabel("SNR to float, dB")
    levels.set_xlabel("level of the input, dBFS")
    minutes.plot(range(1, len(found.minutes_db) + 1), found.minutes_db, "o-", color="#4c6ef5")
    minutes.set_ylim(0, max(found.minutes_db) * 1.3)
    minutes.set_xlabel("minute, the same one again and again")
    minutes.set_ylabel("SNR to float, dB")
    for axes in (levels, minutes):
        _plain(axes)
    return _png(figure)


def stress(found: Mapping[str, Stress]) -> bytes:
    """Level of the output after each knock against an undisturbed run, and SI-SNR by level."""
    results = list(found.values())
    figure = _figure(9, 5.4 if results[0].conditions else 3.8)
    parts = figure.subplots(2, 1, height_ratios=[3, 2]) if results[0].conditions else None
    after = figure.subplots() if parts is None else parts[0]
    for (system, result), line in zip(found.items(), LINES, strict=False):
        for recovery, colour in zip(result.recoveries, KNOCK_COLOURS, strict=True):
            times = WINDOW_S * (np.arange(len(recovery.differences_db)) + 1)
            heard = np.isfinite(recovery.differences_db)
            label = recovery.knock if len(found) == 1 else f"{recovery.knock}, {system}"
            levels = np.array(recovery.differences_db)[heard]
            after.plot(times[heard], levels, line, color=colour, linewidth=1.2, label=label)
    after.axhspan(-TOLERANCE_DB, TOLERANCE_DB, color="#e9ecef")
    after.set_xlabel("s after the knock")
    after.set_ylabel("output, dB against no knock")
    after.legend(frameon=False, fontsize=8, loc="lower right", ncols=len(found))
    _plain(after)
    if parts is not None:
        _si_snr_by_level(parts[1], found)
    return _png(figure)


def _si_snr_by_level(axes: Any, found: Mapping[str, Stress]) -> None:
    levels = next(iter(found.values())).levels
    places = [each.level_dbfs for each in levels]
    axes.plot(places, [each.noisy_db for each in levels], "o-", color="#adb5bd", label="noisy")
    for (system, result), line in zip(found.items(), LINES, strict=False):
        heights = [each.enhanced_db for each in result.levels]
        axes.plot(places, heights, f"o{line}", color="#e8590c", label=system)
    axes.set_xlabel("level of the input, dBFS")
    axes.set_ylabel("SI-SNR, dB")
    axes.legend(frameon=False)
    _plain(axes)
