"""What the built-in networks cost and give, for the README's table.

`python -m benchmarks.built_in --noisy DIR --clean DIR --dnsmos FILE` enhances recordings with each
of them and puts scores, sizes and instructions into a file of `benchmarks/results/`. After it,
`python -m benchmarks.results` writes the pages.
"""

import argparse
from pathlib import Path

from benchmarks.results import BUILT_IN, FOLDER, put
from edge_se.engines.generated import prefix
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from edge_se.model_file import built_in_models
from quant.evaluation.evaluate import Enhance, evaluate_pairs
from quant.evaluation.metrics import METRICS
from quant.evaluation.pairs import load_pairs
from quant.mixed_precision.costs import load_table, predict
from targets.boards import find_board
from targets.emulation.report import project

BOARD = "pi3"
CORES = {"A53": "cortex-a53", "A72": "cortex-a72", "A76": "cortex-a76"}


def instructions(enhancer: Enhancer, core: str) -> float:
    """Per frame on a core, whole loop, as this enhancer runs."""
    told = enhancer.describe()
    cost = predict(enhancer.model_path.read_bytes(), core)
    if told["engine"] == cost.engine:
        return cost.instructions
    return load_table().engines[prefix(told["architecture"], told["arithmetic"])][core]


def what_it_costs(enhancer: Enhancer) -> list[str]:
    """Cells: size, instructions by core, and the real-time factor where a board is slowest."""
    counts = [instructions(enhancer, core) for core in CORES.values()]
    hop_s = enhancer.hop_size / enhancer.sample_rate
    _, slowest = project(find_board(BOARD), counts[0], hop_s)["rtf"]
    size = enhancer.model_path.stat().st_size / 1000
    return [f"{size:.0f}", " / ".join(f"{count / 1000:.0f}" for count in counts), f"{slowest:.2f}"]


def main() -> int:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("noisy", "clean"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dnsmos", type=Path, required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, default=FOLDER / "10_quality.json", metavar="FILE")
    arguments = parser.parse_args()
    pairs = load_pairs(arguments.noisy, arguments.clean, Enhancer().sample_rate)
    asked = [(name, Enhancer(name)) for name in built_in_models()]
    asked.append(("gtcrn --engine c", Enhancer("gtcrn", engine="c")))

    def scores(enhance: Enhance) -> list[str]:
        summary = evaluate_pairs(enhance, pairs, dnsmos=arguments.dnsmos, score_noisy=False).overall
        means = summary.means["enhanced"]
        return [f"{means[name]:.{metric.decimals}f}" for name, metric in METRICS.items()]

    rows = [["noisy", "", "", "", *scores(lambda samples: samples)]]
    for options, enhancer in asked:
        rows.append([f"`{options}`", *what_it_costs(enhancer), *scores(enhancer.enhance)])
        print(*rows[-1], sep=" | ", flush=True)
    headings = [metric.heading for metric in METRICS.values()]
    table = {
        "title": BUILT_IN,
        "measured": "As it runs by default, or by options; instructions are of the whole loop.",
        "command": ["python -m benchmarks.built_in --noisy NOISY --clean CLEAN --dnsmos FILE"],
        "columns": [
            *("`--model`", "KB", f"K instructions a hop of 16 ms, {', '.join(CORES)}"),
            *("RTF on a Pi 3, at most", *headings),
        ],
        "rows": rows,
    }
    put(arguments.json, table)
    return 0


if __name__ == "__main__":
    run_script(main)
