"""What 8 bits cost at other levels than usual, after silence and in the long run, against float.

`python -m benchmarks.levels --calibration DIR ["TITLE=CHECKPOINT" ...]` quantizes a checkpoint,
mixes a folder's clips, plays them to each file beside the float one, and puts a table of that title
into a file of `benchmarks/results/`; without a checkpoint that of the built-in GTCRN. The clips
should be of speakers and noises that no checkpoint was trained on. After it,
`python -m benchmarks.results` writes the page.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.precisions import networks
from benchmarks.recogniser import clips_to_mix
from benchmarks.results import FOLDER, put
from edge_se.errors import run_script
from quant import quantize
from quant.evaluation.judge import JudgedClips, format_change
from quant.evaluation.robustness import MINUTES, Robustness, measure_robustness
from quant.networks.checkpoint import load_checkpoint

COMMAND = "python -m benchmarks.levels --calibration DIR [TITLE=CHECKPOINT ...]"
PRECISIONS = ("int8_float_ends", "int8")
CLIPS, SECONDS, SEED = 48, 8.0, 0
MEASURED = (
    "Change of PESQ-WB against float, mean without the tenth of the clips at either end and its "
    "standard error, on {clips} mixtures of {seconds:g} s of recordings, of speakers and noises "
    "that the built-in GTCRN was not trained on. Peaks above full scale are cut off, and both "
    "outputs rounded to 16 bits. Last, of one minute looped without a reset, SNR to float in its "
    "second and its last turn."
)


def row(precision: str, found: Robustness) -> list[str]:
    """Cells of a table."""
    losses = [case.pesq_loss for case in (*found.levels, found.silence)]
    changes = [format_change(loss.mean, loss.error) for loss in losses if loss is not None]
    return [f"`{precision}`", *changes, f"{found.minutes_db[1]:.1f}, {found.minutes_db[-1]:.1f} dB"]


def table(title: str, checkpoint: Path, clips: JudgedClips, work: Path) -> dict[str, Any]:
    """The table of a network."""
    paths = {name: work / f"{name}.tflite" for name in ("float", *PRECISIONS)}
    for name, path in paths.items():
        quantize(checkpoint, precision=name).save(path)
    rows = []
    for name in PRECISIONS:
        found = measure_robustness(paths["float"], paths[name], clips)
        rows.append(row(name, found))
        print(title, *rows[-1], sep=" | ", flush=True)
    conditions = [case.name for case in (*found.levels, found.silence)]
    count, samples = clips.noisy.shape
    return {
        "title": f"{title} at other levels",
        "command": [COMMAND],
        "measured": MEASURED.format(clips=count, seconds=samples / clips.rate),
        "columns": ["precision", *conditions, f"minutes 2 and {MINUTES} to float"],
        "rows": rows,
    }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", nargs="*", metavar="TITLE=CHECKPOINT")
    parser.add_argument("--calibration", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, default=FOLDER / "10_quality.json", metavar="FILE")
    arguments = parser.parse_args()
    for title, path in networks(arguments.checkpoints):
        rate = load_checkpoint(path).signal.sample_rate
        clips = JudgedClips.of(clips_to_mix(arguments.calibration, rate), SEED, CLIPS, SECONDS)
        with tempfile.TemporaryDirectory(prefix="edge-se-") as work:
            put(arguments.json, table(title, path, clips, Path(work)))


if __name__ == "__main__":
    run_script(main)
