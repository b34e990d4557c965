"""Quantize a trained network with calibration clips into one .tflite model file."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant.clips import CalibrationClips

PRECISIONS = ("int8", "int16x8", "dynamic", "float")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        help=".tar, .pt or .safetensors with the trained weights (default: the built-in network)",
    )
    parser.add_argument("--out", type=Path, required=True, help="model file to write (.tflite)")
    parser.add_argument("--architecture", default="gtcrn", help="network (default: %(default)s)")
    parser.add_argument(
        "--calibration-clips",
        type=Path,
        metavar="DIR",
        help="folder with clean/ and noise/, or with noisy clips (default: the built-in clips)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="int8",
        help="int8: weights, activations, states, inputs and outputs in 8 bits; int16x8: "
        "activations in 16; dynamic: 8-bit weights only; float (default: %(default)s)",
    )
    parser.add_argument(
        "--ranges",
        type=Path,
        metavar="FILE",
        help="use the tensor ranges of this file instead of calibrated ones",
    )
    parser.add_argument(
        "--save-ranges", type=Path, metavar="FILE", help="write the tensor ranges used (JSON)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantize and say what was made."""
    from calib_data import clips_folder
    from edge_se.errors import UserError
    from edge_se.files import written_beside
    from quant.checkpoints import default_checkpoint_path
    from quant.clips import read_calibration_clips
    from quant.models.checkpoint import load_checkpoint
    from quant.pipeline import (
        build_float,
        build_quantized,
        calibrate_checkpoint,
        default_ranges,
        noisy_clips,
    )
    from quant.ranges import read_ranges, write_ranges
    from quant.recipes import find_recipe

    if not arguments.out.parent.is_dir():
        raise UserError(f"there is no folder {arguments.out.parent} to write to; create it")
    checkpoint = load_checkpoint(
        arguments.checkpoint or default_checkpoint_path(), arguments.architecture
    )
    recipe = find_recipe(arguments.precision)
    if recipe.name == "float":
        content = build_float(checkpoint, recipe)
    else:
        clips = read_calibration_clips(arguments.calibration_clips or clips_folder())
        for skipped in clips.skipped:
            print(f"skipped {skipped}", file=sys.stderr)
        noisy = noisy_clips(clips)
        with _ProgressBars() as progress:
            calibrated = calibrate_checkpoint(checkpoint, noisy, progress)
        ranges = default_ranges(calibrated, recipe)
        if arguments.ranges:
            ranges |= read_ranges(arguments.ranges)
        if arguments.save_ranges:
            write_ranges(arguments.save_ranges, ranges)
        content = build_quantized(calibrated, recipe, ranges, _describe(clips, noisy, calibrated))
    with written_beside(arguments.out) as temporary:
        temporary.write_bytes(content)
    print(
        f"wrote {arguments.out}: {checkpoint.architecture} from {checkpoint.name}, "
        f"{recipe.name}, {len(content) / 1000:.0f} KB"
    )
    return 0


def _describe(clips: "CalibrationClips", noisy: list, calibrated: Any) -> dict[str, Any]:
    return {
        "clips": len(noisy),
        "clean": len(clips.clean),
        "noise": len(clips.noise),
        "skipped": len(clips.skipped),
        "frames": calibrated.statistics.frames,
    }


class _ProgressBars:
    """One bar on standard error per stage."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> "_ProgressBars":
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None or self._bar.desc != stage:
            self.__exit__()
            self._bar = tqdm(total=total, desc=stage, unit="clip", file=sys.stderr)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
