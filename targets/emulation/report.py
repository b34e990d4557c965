"""What an emulated benchmark says: instructions per frame, agreement, a projection to the board."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.benchmark import frames_of
from edge_se.enhancer import Enhancer
from edge_se.quantized import SAMPLE_STEP, dequantize
from targets.boards import Board, load_boards
from targets.emulation.emulator import Counts, emulated

# Largest difference allowed between samples put out here and there, by precision; full scale is 1.
# Where floats are rounded to 8 bits, a last bit of difference between processors now and then moves
# a value by a whole quantization step. Engines in integers give the same bits everywhere.
TOLERANCES = {"float": 1e-5, "int16x8": 1e-4, "fixed": 0.0}
# Of everything in 8 bits, recipes that mix precisions and have names of their own too.
EIGHT_BIT_TOLERANCE = 5e-3


def emulate_benchmark(
    board: Board,
    python: str,
    model: Path,
    samples: NDArray[np.float32],
    engine: str | None = None,
    runtime: str | None = None,
    stft: str | None = None,
) -> dict[str, Any]:
    """Count, compare and project, ready for JSON.

    Args:
        board: One with a core.
        python: Version there, such as "3.11".
        model: A model file.
        samples: float32 [n] at the model's rate.
        engine: As of `edge_se.Enhancer`.
        runtime: The same.
        stft: The same.

    Raises:
        UserError: The board can't be emulated here, or the model does not run.
    """
    start = time.perf_counter()
    here = Enhancer(model, engine, runtime, stft)
    expected = _enhanced(here, samples)
    with emulated(board, python) as machine:
        prepared = time.perf_counter()
        counted = machine.count(model, samples, engine, runtime, stft)
    found = _full_scale(counted.enhanced)
    manifest = here.manifest
    hop_s = manifest.signal.hop_seconds
    total = sum(counted.per_frame.values())
    difference = float(np.abs(expected - found).max())
    tolerance = TOLERANCES.get(manifest.precision, EIGHT_BIT_TOLERANCE)
    return {
        "board": board.key,
        "core": board.core and board.core.name,
        "python": python,
        "frames": len(expected),
        "hop_ms": 1000 * hop_s,
        "instructions_per_frame": _with_total(counted.per_frame),
        "stages": {name: _with_total(counts) for name, counts in counted.stages.items()},
        "projection": [project(other, total, hop_s) for other in same_core(board)],
        "agreement": {
            "largest_difference": difference,
            "tolerance": tolerance,
            "agrees": difference <= tolerance,
            "snr_db": _snr_db(expected, found),
        },
        "prepare_s": round(prepared - start, 1),
        "emulate_s": round(time.perf_counter() - prepared, 1),
        "model": counted.engine,
    }


def project(board: Board, instructions: float, hop_s: float) -> dict[str, Any]:
    """Real-time factor that a board's assumed speed gives, from best to worst.

    Args:
        board: One with a core.
        instructions: Per frame.
        hop_s: Length of a frame in seconds.
    """
    speed = board.instructions_per_second
    assert board.core is not None and speed is not None, f"{board.key} has no certain core"
    slow, fast = speed
    return {
        "board": board.key,
        "name": board.name,
        "clock_mhz": board.clock_mhz,
        "instructions_per_cycle": list(board.core.instructions_per_cycle),
        "frame_us": [round(1e6 * instructions / s, 1) for s in (fast, slow)],
        "rtf": [round(instructions / s / hop_s, 5) for s in (fast, slow)],
    }


def format_report(report: dict[str, Any]) -> str:
    """The report for people, assumptions included."""
    counts, agreement = report["instructions_per_frame"], report["agreement"]
    model = report["model"]
    lines = [
        f"{model['file']} ({model['architecture']}, {model['precision']}), {model['runtime']} "
        f"{model['runtime_version']}, STFT {model['stft']}, Python {report['python']}, on an "
        f"emulated {report['core']}",
        "",
        f"instructions per frame of {report['hop_ms']:g} ms, whole loop, mean of "
        f"{report['frames']} frames: {counts['total']:,.0f}",
    ]
    columns = {"whole loop": counts, **report["stages"]}
    lines.append("  ".join([f"{'':<14}", *(f"{name:>12}" for name in columns)]))
    for kind in counts:
        cells = (f"{column[kind]:>12,.0f}" for column in columns.values())
        lines.append("  ".join([f"{kind.replace('_', ' '):<14}", *cells]))
    lines += ["", "projected, not measured:"]
    for entry in report["projection"]:
        low, high = entry["instructions_per_cycle"]
        lines.append(
            f"  {entry['name']}: real-time factor {entry['rtf'][0]:.3f} to {entry['rtf'][1]:.3f} "
            f"({entry['frame_us'][0]:.0f} to {entry['frame_us'][1]:.0f} µs per frame), assuming "
            f"one core at {entry['clock_mhz']} MHz, {low:g} to {high:g} instructions per cycle, "
            "no throttling and nothing else running"
        )
    word = "agrees" if agreement["agrees"] else "DOES NOT AGREE"
    lines += [
        "",
        f"output {word} with this machine's: largest difference "
        f"{agreement['largest_difference']:.1e}, allowed {agreement['tolerance']:.0e} of full "
        f"scale",
        f"{report['prepare_s']:g} s to prepare, {report['emulate_s']:g} s to emulate",
    ]
    return "\n".join(lines)


def _enhanced(enhancer: Enhancer, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    inputs = frames_of(samples, enhancer.hop_size, enhancer.sample_dtype)
    outputs = np.empty_like(inputs)
    for frame, out in zip(inputs, outputs, strict=True):
        enhancer.process(frame, out)
    return _full_scale(outputs)


def _full_scale(frames: NDArray[Any]) -> NDArray[np.float32]:
    """Frames of int16 as float, full scale being 1; float ones as they are."""
    return frames if frames.dtype == np.float32 else dequantize(frames, SAMPLE_STEP, 0)


def same_core(board: Board) -> list[Board]:
    """All boards with the core of one, itself too."""
    return [other for other in load_boards().values() if other.core == board.core]


def _with_total(counts: Counts) -> Counts:
    return {**counts, "total": round(sum(counts.values()), 1)}


def _snr_db(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float | None:
    noise = float(np.square(expected - found, dtype=np.float64).sum())
    signal = float(np.square(expected, dtype=np.float64).sum())
    return round(10 * np.log10(signal / noise), 1) if noise and signal else None
