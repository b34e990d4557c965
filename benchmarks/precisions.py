"""What each precision of a network scores: tables of quality, by SNR and by noise too.

`python -m benchmarks.precisions --noisy DIR --clean DIR ["TITLE=CHECKPOINT" ...]` quantizes a
checkpoint in every precision, without recovery where `quantize` does not ask for it, enhances
recordings with each file as it runs by default, with that of `int16x8` in C too, and puts a table
of that title into a file of `benchmarks/results/`; without a checkpoint those of the built-in
network, by SNR and by noise too.
After it, `python -m benchmarks.results` writes the page.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER, put
from edge_se.engines.generated import RECIPES, arithmetics_of
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from quant import quantize
from quant.checkpoints import default_checkpoint_path
from quant.evaluation.evaluate import (
    Difference,
    EvaluationResult,
    Summary,
    evaluate_pairs,
    summarize,
)
from quant.evaluation.metrics import METRICS, WITH_CLEAN
from quant.evaluation.pairs import Pair, load_pairs
from quant.networks.checkpoint import load_checkpoint
from quant.networks.network import Network

COMMAND = "python -m benchmarks.precisions --noisy NOISY --clean CLEAN [TITLE=CHECKPOINT ...]"
COLUMNS = [
    *("precision", "PESQ-WB", "against float", "STOI", "SI-SNR dB", "SNR to float dB"),
    "KB, weights for C included",
]
BUILT_IN = "The built-in GTCRN"


def networks(asked: Sequence[str]) -> list[tuple[str, Path]]:
    """Titles and checkpoints of words TITLE=CHECKPOINT; of none, those of the built-in GTCRN."""
    named = (word.split("=", 1) for word in asked)
    return [(title, Path(path)) for title, path in named] or [(BUILT_IN, default_checkpoint_path())]


def precisions_of(network: Network) -> list[str]:
    """What there is a row for."""
    own = [recipe.name for recipe in network.recipes]
    return ["float", "auto", "int8", *own, "dynamic", "int16x8"]


def enhancers(checkpoint: Path, folder: Path) -> Iterator[tuple[str, Enhancer]]:
    """A network's model files as they are run, by what a table calls that."""
    for precision in precisions_of(load_checkpoint(checkpoint).network):
        path = folder / f"{precision}.tflite"
        result = quantize(checkpoint, precision=precision)
        result.save(path)
        taken = result.recipe.name
        yield f"`{precision}`" + f" (took `{taken}`)" * (taken != precision), Enhancer(path)
        if precision == RECIPES["fixed"] and "fixed" in arithmetics_of(path):
            yield f"`{precision}`, `fixed` in C", Enhancer(path, engine="c", stft="fixed")


def row(name: str, path: Path, result: EvaluationResult) -> list[str]:
    """Cells of a table by precision."""
    change, near = result.differences["pesq"], result.overall.snr_to_reference_db
    pesq, *others = _scores(result.overall, "enhanced")
    against, ratio = with_interval(change), f"{near:.1f}"
    if name == "`float`":  # which is what the others are compared with
        against = ratio = ""
    return [name, pesq, against, *others, ratio, f"{path.stat().st_size / 1000:,.0f}"]


def with_interval(change: Difference) -> str:
    """A change of PESQ-WB, and the interval that it lies in, as a cell."""
    return f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"


def by_precision(title: str, checkpoint: Path, pairs: Sequence[Pair], work: Path) -> dict[str, Any]:
    """The table of a network."""
    rows: list[list[str]] = []
    for name, enhancer in enhancers(checkpoint, work):
        reference = Enhancer(work / "float.tflite").enhance
        result = evaluate_pairs(enhancer.enhance, pairs, reference=reference, score_noisy=not rows)
        if not rows:
            pesq, *others = _scores(result.overall, "noisy")
            rows.append(["noisy", pesq, "", *others, "", ""])
        rows.append(row(name, enhancer.model_path, result))
        print(*rows[-1], sep=" | ", flush=True)
    return {"title": title, "command": [COMMAND], "columns": COLUMNS, "rows": rows}


def of_conditions(pairs: Sequence[Pair], float_file: Path) -> list[dict[str, Any]]:
    """The built-in GTCRN's tables by SNR and by noise, the built-in file beside float."""
    reference = Enhancer(float_file).enhance
    result = evaluate_pairs(Enhancer("gtcrn").enhance, pairs, reference=reference)
    kinds = defaultdict(list)
    for clip in result.clips:
        kinds[clip.noise_type or "unknown"].append(clip)
    noises = [summarize(kind, clips) for kind, clips in sorted(kinds.items())]

    def cells(summary: Summary) -> list[str]:
        means = (summary.means[system] for system in ("noisy", "reference", "enhanced"))
        pesq_and_ratio = (f"{mean['pesq']:.2f} / {mean['si_snr_db']:.1f}" for mean in means)
        label = summary.label.replace("_", " ")
        return [label, str(summary.clips), *pesq_and_ratio]

    systems = ["clips", "noisy", "`float`", "built-in file"]
    return [
        {
            "title": f"{BUILT_IN} by {what}",
            "measured": "PESQ-WB / SI-SNR in dB; `float`, and the file that is built in.",
            "command": [COMMAND],
            "columns": [what, *systems],
            "rows": [cells(part) for part in parts],
        }
        for what, parts in (("SNR", result.buckets), ("noise", noises))
    ]


def _scores(summary: Summary, system: str) -> list[str]:
    means = summary.means[system]
    return [f"{means[name]:.{METRICS[name].decimals}f}" for name in WITH_CLEAN]


def main() -> int:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", nargs="*", metavar="TITLE=CHECKPOINT")
    for name in ("noisy", "clean"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, default=FOLDER / "10_quality.json", metavar="FILE")
    arguments = parser.parse_args()
    pairs = load_pairs(arguments.noisy, arguments.clean, Enhancer("gtcrn").sample_rate)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        work = Path(name)
        for title, path in networks(arguments.checkpoints):
            put(arguments.json, by_precision(title, path, pairs, work))
        if not arguments.checkpoints:
            put(arguments.json, *of_conditions(pairs, work / "float.tflite"))
    return 0


if __name__ == "__main__":
    run_script(main)
