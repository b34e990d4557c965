"""What a report says: every figure about one quantized model, measured or predicted."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_se.benchmark import bursts
from edge_se.comparison import compare
from edge_se.enhancer import Enhancer
from edge_se.inspection import inspect_model
from edge_se.peers import Ours
from quant.audio.clips import CalibrationClips
from quant.evaluation.evaluate import EvaluationResult, Summary, evaluate_pairs, summarize
from quant.evaluation.judge import FileJudge, JudgedClips, Quality, SimulationJudge
from quant.evaluation.pairs import Pair
from quant.evaluation.robustness import Robustness, measure_robustness
from quant.evaluation.saturation import SaturationCounter
from quant.evaluation.sensitivity import Sensitivity, measure_sensitivity
from quant.evaluation.stress import Stress, measure_stress
from quant.graph.encoding import assign_encodings
from quant.graph.graph import Range
from quant.graph.recipes import Recipe
from quant.graph.simulate import FakeQuantizer
from quant.mixed_precision.auto import Decision
from quant.mixed_precision.costs import Board, load_table, predict
from quant.ptq.offline import enhance_offline
from quant.ptq.pipeline import CALIBRATION_SEED, CalibratedGraph, Progress, corrected

CLIPS, SECONDS = 12, 8.0
SENSITIVITY_CLIPS, SENSITIVITY_SECONDS = 6, 2.0
LEVEL_BUCKET_DB = 10.0
SHOWN_SNR_DB = 5.0
TIMED_SECONDS = 8.0
# Mean loss against float up to which a model is called so; beyond the last it is poor.
GRADES = {
    "good": {"pesq": 0.02, "stoi": 0.005, "si_snr_db": 0.5},
    "fair": {"pesq": 0.05, "stoi": 0.015, "si_snr_db": 1.5},
}
# What to do where a file differs audibly from float, by the route that its recipe names.
ADVICE = {
    "": "Try --precision auto or int8_float_ends, or calibrate with clips like those it will hear.",
    "litert": "Try --precision int16x8 or a recipe file that leaves layers float, or calibrate "
    "with clips like those it will hear.",
}
# Without clean speech: compressed-spectrum SNR to float from which it is called so.
GRADES_DB = {"good": 21.0, "fair": 18.0}


@dataclass(frozen=True)
class Inside:
    """What no file tells of a quantized network, but whoever made it.

    Attributes:
        clipping: share of values cut off, by tensor, the largest first.
        sensitivity: of the network's scopes; None where they can't be simulated apart.
    """

    clipping: dict[str, float]
    sensitivity: Sensitivity | None = None


@dataclass(frozen=True)
class Made:
    """A quantized model and what it was made with.

    Attributes:
        board: that it is for.
        content: of the model file.
        plain: of the float file of the same network.
        clips: what the user gave for calibration.
        look_inside: finds what the files don't tell, on clips not used before.
        ranges: of its values.
        decision: what `auto` decided, where it did.
    """

    board: Board
    content: bytes
    plain: bytes
    clips: CalibrationClips
    look_inside: Callable[[JudgedClips, Progress], Inside]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    decision: Decision | None = None


@dataclass(frozen=True)
class Figures:
    """All that was found.

    Attributes:
        facts: names, sizes, operators, states, times and costs, ready for JSON.
        quality: of the files on clips not used before; None without clean speech.
        levels: the same by level.
        to_float: SNRs to float on the same clips, in dB.
        robustness: of the files.
        stress: of the files, by the names "quantized" and "float".
        sensitivity: of the network's scopes; None where they can't be simulated apart.
        clipping: share of values cut off, by tensor.
        ranges: of the tensors.
        signals: one clip noisy, by float, quantized, and their difference; float32 [n] each.
        rate: of the signals, in Hz.
        grade: "good", "fair" or "poor".
        remarks: what a reader has to know first.
    """

    facts: dict[str, Any]
    quality: EvaluationResult | None
    levels: tuple[Summary, ...]
    to_float: Quality
    robustness: Robustness
    stress: dict[str, Stress]
    sensitivity: Sensitivity | None
    clipping: dict[str, float]
    ranges: Mapping[str, Range]
    signals: dict[str, np.ndarray]
    rate: int
    grade: str
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "grade": self.grade,
            "remarks": list(self.remarks),
            **self.facts,
            "quality": self.quality.to_dict() if self.quality else None,
            "quality_by_level": [vars(summary) for summary in self.levels],
            "to_float": self.to_float.to_dict(),
            "robustness": self.robustness.to_dict(),
            "stress": {name: found.to_dict() for name, found in self.stress.items()},
            "sensitivity": self.sensitivity.to_dict() if self.sensitivity else None,
            "clipping": self.clipping,
            "ranges": {name: list(bounds) for name, bounds in self.ranges.items()},
        }


def collect(made: Made, progress: Progress = lambda stage, done, total: None) -> Figures:
    """Measure everything; takes a minute or two.

    Args:
        made: the quantized model.
        progress: told how far each stage is.
    """
    clips = JudgedClips.of(made.clips, CALIBRATION_SEED + 2, CLIPS, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = (Path(folder) / name for name in ("float.tflite", "model.tflite"))
        plain.write_bytes(made.plain)
        quantized.write_bytes(made.content)
        result, levels = _quality(plain, quantized, clips)
        progress("quality", 1, 1)
        robustness = measure_robustness(plain, quantized, clips, progress=progress)
        stress = {
            name: measure_stress(
                Enhancer(path),
                list(clips.noisy),
                None if clips.clean is None else list(clips.clean),
                progress=progress,
                stage=f"stress, {name}",
            )
            for name, path in (("quantized", quantized), ("float", plain))
        }
        facts = _facts(made, plain, quantized)
        signals = _signals(plain, quantized, clips)
        inside = made.look_inside(clips, progress)
        to_float = FileJudge(clips, made.plain).measure(made.content)
    grade, remarks = judge_result(result, to_float.compressed_snr_db, facts, robustness)
    return Figures(
        facts=facts,
        quality=result,
        levels=levels,
        to_float=to_float,
        robustness=robustness,
        stress=stress,
        sensitivity=inside.sensitivity,
        clipping=inside.clipping,
        ranges=made.ranges,
        signals=signals,
        rate=clips.rate,
        grade=grade,
        remarks=remarks,
    )


def _quality(
    plain: Path, quantized: Path, clips: JudgedClips
) -> tuple[EvaluationResult | None, tuple[Summary, ...]]:
    if clips.clean is None:
        return None, ()
    pairs = [
        Pair(f"mixture {index + 1}", noisy, clean, clips.rate, snr_db, None, level)
        for index, (noisy, clean, snr_db, level) in enumerate(
            zip(clips.noisy, clips.clean, clips.snrs_db, clips.levels_dbfs, strict=True)
        )
    ]
    model, reference = Enhancer(quantized), Enhancer(plain)
    result = evaluate_pairs(model.enhance, pairs, reference=reference.enhance)
    by_level: dict[float, list] = {}
    for clip in result.clips:
        centre = LEVEL_BUCKET_DB * round((clip.level_dbfs or 0.0) / LEVEL_BUCKET_DB)
        by_level.setdefault(centre, []).append(clip)
    levels = (summarize(f"{level:g} dBFS", by_level[level]) for level in sorted(by_level))
    return result, tuple(levels)


def _signals(plain: Path, quantized: Path, clips: JudgedClips) -> dict[str, np.ndarray]:
    """The clip whose SNR is nearest to 5 dB, or the first, through both files."""
    reference, model = Enhancer(plain), Enhancer(quantized)
    distances = [abs(snr_db - SHOWN_SNR_DB) for snr_db in clips.snrs_db]
    noisy = clips.noisy[int(np.argmin(distances)) if distances else 0]
    expected, found = reference.enhance(noisy), model.enhance(noisy)
    return {
        "noisy": noisy,
        "float": expected,
        "quantized": found,
        "difference": found - expected,
    }


def look_inside(
    calibrated: CalibratedGraph,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    clips: JudgedClips,
    progress: Progress,
) -> Inside:
    """What the graph of a network of this project tells: simulated, and scope by scope.

    Args:
        calibrated: its network, with uncorrected biases.
        recipe: of the file.
        ranges: of its values.
        clips: what to judge by.
        progress: told how far the sensitivity is.
    """
    checkpoint, graph = calibrated.checkpoint, calibrated.graph
    encodings = assign_encodings(graph, recipe.choose, dict(ranges), recipe.signals)
    counter = SaturationCounter(graph, encodings, FakeQuantizer(graph, encodings, recipe.choose))
    with corrected(calibrated, recipe, dict(ranges)):
        enhance_offline(graph, calibrated.signal, torch.from_numpy(clips.noisy), counter)
    few = clips.first(SENSITIVITY_CLIPS, SENSITIVITY_SECONDS)
    sensitivity = measure_sensitivity(calibrated, SimulationJudge(few, checkpoint), progress)
    return Inside(counter.shares, sensitivity)


def _facts(made: Made, plain: Path, quantized: Path) -> dict[str, Any]:
    inspected = inspect_model(quantized)
    manifest = inspected["manifest"]
    signal, recipe = manifest["signal"], manifest["recipe"]
    peers = [Ours(Enhancer(plain)), Ours(Enhancer(quantized))]
    rows = compare(peers, bursts(signal["sample_rate"]), TIMED_SECONDS)
    return {
        "board": made.board.key,
        "model": {
            "architecture": manifest["architecture"],
            "checkpoint": manifest["checkpoint"]["name"],
            "sha256": manifest["checkpoint"].get("sha256"),
            "recipe": recipe,
            "bytes": len(made.content),
            "float_bytes": plain.stat().st_size,
            "latency_ms": inspected["latency_ms"],
            "hop_ms": 1000 * signal["hop"] / signal["sample_rate"],
        },
        "operators": inspected["operators"],
        "states": manifest["states"],
        "calibration": manifest["calibration"],
        "time_here": {
            name: {"p5_us": row["frame_us"]["p5"], "p50_us": row["frame_us"]["p50"]}
            for name, row in zip(("float", "quantized"), rows, strict=True)
        },
        "boards": [
            {"board": board.key, "name": board.name, **_board_cost(board, plain, made.content)}
            for board in load_table().boards.values()
        ],
        "decision": made.decision.to_dict() if made.decision else None,
    }


def _board_cost(board: Board, plain: Path, content: bytes) -> dict[str, Any]:
    slow, fast = board.instructions_per_second
    costs = {
        "float": predict(plain.read_bytes(), board.core).instructions,
        "quantized": predict(content, board.core).instructions,
    }
    return {
        "instructions": {name: round(count) for name, count in costs.items()},
        "frame_us": {
            name: [round(1e6 * count / speed) for speed in (fast, slow)]
            for name, count in costs.items()
        },
    }


def judge_result(
    result: EvaluationResult | None,
    snr_db: float,
    facts: dict[str, Any],
    robustness: Robustness,
) -> tuple[str, tuple[str, ...]]:
    """Grade of a model, and what to say of it first.

    Args:
        result: quality of the files, where clean speech is known.
        snr_db: compressed-spectrum SNR to float of the simulation.
        facts: as of `Figures`.
        robustness: of the files.
    """
    remarks = []
    worse: list[str] = []
    if result is None:
        grade = next((name for name, least in GRADES_DB.items() if snr_db >= least), "poor")
        remarks.append(
            f"Only noisy clips were given, so quality is judged by the SNR to float alone: "
            f"{snr_db:.1f} dB of compressed spectra."
        )
    else:
        losses = {name: -found.mean for name, found in result.differences.items()}
        grade = next(
            (
                name
                for name, limits in GRADES.items()
                if all(losses.get(metric, 0.0) <= limit for metric, limit in limits.items())
            ),
            "poor",
        )
        pesq = result.differences["pesq"]
        remarks.append(
            f"Against float it changes PESQ-WB by {pesq.mean:+.3f} (95 % interval "
            f"{pesq.low:+.3f} to {pesq.high:+.3f}), STOI by "
            f"{result.differences['stoi'].mean:+.4f} and SI-SNR by "
            f"{result.differences['si_snr_db'].mean:+.2f} dB, on {result.overall.clips} clips."
        )
        means = result.overall.means
        worse = [
            name for name in ("pesq", "si_snr_db") if means["enhanced"][name] < means["noisy"][name]
        ]
    if grade == "poor":
        advice = ADVICE[facts["model"]["recipe"].get("route", "")]
        remarks.insert(0, f"The result is poor: it differs audibly from the float model. {advice}")
    if worse:
        grade = "poor"
        remarks.insert(
            0, f"The result is poor: worse than the noisy input by {' and '.join(worse)}."
        )
    lost = [
        case.name
        for case in (*robustness.levels, robustness.silence)
        if case.pesq_loss is not None and case.pesq_loss.mean > 0.1
    ]
    if lost:
        remarks.append(f"It loses more than 0.1 PESQ-WB to float at: {', '.join(lost)}.")
    if abs(robustness.drift_db) > 1:
        remarks.append(
            f"It drifts: SNR to float changes by {robustness.drift_db:+.1f} dB from the second to "
            "the last minute of a looped one."
        )
    return grade, (*remarks, *_speed_remarks(facts))


def _speed_remarks(facts: dict[str, Any]) -> Sequence[str]:
    slower = [
        f"{entry['name']} (by {counts['quantized'] / counts['float'] - 1:.0%})"
        for entry in facts["boards"]
        if (counts := entry["instructions"])["quantized"] > counts["float"]
    ]
    model = facts["model"]
    size = f"The file has {model['bytes'] / model['float_bytes']:.0%} of the float file's size."
    if slower:
        return (size, f"Float takes fewer instructions on {', '.join(slower)}.")
    return (size, "It takes fewer instructions than float on every board that was counted.")
