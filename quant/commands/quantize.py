"""Quantize a trained network with calibration clips into one .tflite model file."""

import argparse
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quant.commands.options import add_network_arguments, load_network
from quant.commands.separators import (
    add_separator_arguments,
    is_separator,
    quantize_separator,
)

if TYPE_CHECKING:
    from quant.audio.clips import CalibrationClips
    from quant.graph.graph import Range
    from quant.graph.recipes import Recipe
    from quant.networks.checkpoint import Checkpoint
    from quant.ptq.pipeline import Progress
    from quant.training.recovery import Recovery

PRECISIONS = (
    *("auto", "int8", "int8_float_ends", "int8_float_coders", "int16x8", "dynamic", "float"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="model file to write (.tflite)")
    parser.add_argument(
        "--calibration-clips",
        type=Path,
        metavar="DIR",
        help="folder with clean/ and noise/, or with noisy clips (default: the built-in clips)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="int8: weights, activations, states, inputs and outputs in 8 bits; "
        "int8_float_ends: so but for the first and last two convolutions and what is around them, "
        "which stay float; int8_float_coders: the encoder and the decoder stay float; int16x8: "
        "activations in 16; dynamic: 8-bit weights only; float; auto: the cheapest on the board of "
        "these static ones and dynamic within the quality budget (default: %(default)s)",
    )
    parser.add_argument(
        "--quality-budget",
        type=float,
        default=0.02,
        metavar="PESQ",
        help="what auto may lose, in PESQ-WB; with noisy clips alone, where PESQ can't be "
        "measured, an SNR to the float network stands for it (default: %(default)s)",
    )
    parser.add_argument(
        "--board",
        default="pi4",
        metavar="NAME",
        help="board that auto makes the file cheap for, as edge-se boards lists them "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--range-method",
        choices=("min-max", "percentile", "mse"),
        help="ranges between the smallest and largest values, between percentiles for each kind of "
        "tensor, or with the least squared error (default: percentile; with 16 bits min-max)",
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "--level-dbfs",
        type=float,
        metavar="DB",
        help="attenuate what the network hears where it is more than 12 dB louder than this "
        "level, by powers of two that follow the signal (default: -25 with --precision int8, "
        "else never)",
    )
    level.add_argument(
        "--keep-level",
        action="store_true",
        default=None,
        help="let the network hear every level as it is",
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
    parser.add_argument(
        "--recover",
        type=float,
        metavar="MINUTES",
        help="fine-tune the weights against their rounding for so long, or 80 steps at most, "
        "towards the float network's output on the calibration clips; held-out ones decide what "
        "is kept (default: only where int8 is far from float, or auto finds nothing static that "
        "will do, which then takes 60 steps)",
    )
    parser.add_argument(
        "--recover-clean",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="of the clean speech as a target of --recover beside the float network's output: for "
        "clips of many real speakers (default: 0)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="measure what was lost and write a page about it, report.html and report.json",
    )
    add_separator_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Quantize and say what was made."""
    from edge_se.engines import ENGINES
    from edge_se.errors import UserError
    from edge_se.files import make_folder, written_beside
    from quant.graph.recipes import find_recipe
    from quant.ptq.pipeline import build_float
    from quant.training.recovery import is_static

    suffix = ENGINES["tflite"]
    if arguments.out.suffix != suffix:
        raise UserError(f"{arguments.out} has to end in {suffix} to be recognised as TFLite")
    if arguments.quality_budget <= 0:
        raise UserError("--quality-budget has to be above 0, as in --quality-budget 0.02")
    automatic = arguments.precision == "auto"
    for option in ("level_dbfs", "keep_level"):
        if automatic and getattr(arguments, option) is not None:
            name = f"--{option.replace('_', '-')}"
            raise UserError(f"--precision auto sees to levels; name a precision beside {name}")
    recipe = None if automatic else find_recipe(arguments.precision)
    if arguments.recover is not None and arguments.recover < 0:
        raise UserError("--recover takes minutes, as in --recover 10")
    if arguments.recover and recipe is not None and not is_static(recipe):
        raise UserError("--recover is for activations in 8 or 16 bits; name a --precision as int8")
    if arguments.recover_clean < 0:
        raise UserError("--recover-clean takes a weight, as in --recover-clean 1")
    for option in ("ranges", "save_ranges", "range_method"):
        if getattr(arguments, option) and (recipe is None or not recipe.needs_ranges):
            raise UserError(
                f"--{option.replace('_', '-')} needs a --precision with calibrated ranges, as int8"
            )
    if arguments.report:
        if recipe is not None and recipe.name == "float":
            raise UserError("--report compares with float; choose another --precision beside it")
        make_folder(arguments.report)
    # A place that can't be written to is found before minutes of calibration.
    with written_beside(arguments.out) as temporary:
        checkpoint = load_network(arguments)
        if is_separator(checkpoint, arguments):
            recipe, content = quantize_separator(arguments, checkpoint, recipe, temporary)
        elif recipe is not None and recipe.name == "float":
            content = build_float(checkpoint, recipe, _level(arguments, recipe))
        else:
            recipe, content = _calibrate_and_build(arguments, checkpoint, recipe)
        temporary.write_bytes(content)
    print(
        f"wrote {arguments.out}: {checkpoint.architecture} from {checkpoint.name}, "
        f"{recipe.name}, {len(content) / 1000:.0f} KB"
    )
    return 0


def _calibrate_and_build(
    arguments: argparse.Namespace, checkpoint: "Checkpoint", recipe: "Recipe | None"
) -> "tuple[Recipe, bytes]":
    """Calibrate and build by the recipe, or by the one that `choose_recipe` finds for None."""
    from calib_data import clips_folder
    from quant.audio.clips import read_calibration_clips
    from quant.commands.progress import ProgressBars
    from quant.mixed_precision.auto import choose_recipe, format_decision, split_clips
    from quant.mixed_precision.costs import find_board
    from quant.ptq.pipeline import (
        build_quantized,
        calibrate_checkpoint,
        default_method,
        find_ranges,
        noisy_clips,
    )
    from quant.ptq.ranges import read_ranges, write_ranges
    from quant.report.collect import Made, collect
    from quant.report.page import DATA, PAGE, write_report

    board = find_board(arguments.board)
    given = read_ranges(arguments.ranges) if arguments.ranges else {}
    clips = read_calibration_clips(arguments.calibration_clips or clips_folder())
    for skipped in clips.skipped:
        print(f"skipped {skipped}", file=sys.stderr)
    details: dict[str, Any] = {}
    decision = recovered = None
    with ProgressBars() as progress:
        if recipe is None:
            heard, judged = split_clips(clips)
            noisy = noisy_clips(heard)
            recovery = _recovery(arguments, recipe, heard, progress)
            decision = choose_recipe(
                *(checkpoint, noisy, judged, arguments.quality_budget, board, progress),
                recovery=recovery,
            )
            chosen = decision.chosen
            recipe, calibrated, ranges = chosen.recipe, chosen.calibrated, chosen.ranges
            recovered = chosen.recovered
            details["decision"] = decision.to_dict()
        else:
            noisy = noisy_clips(clips)
            recovery = _recovery(arguments, recipe, clips, progress)
            method = arguments.range_method or default_method(recipe)
            saturated = recipe.needs_ranges and method == "percentile"
            calibrated = calibrate_checkpoint(
                checkpoint, noisy, progress, _level(arguments, recipe), recipe.splits, saturated
            )
            found = find_ranges(calibrated, method)
            _check_names(arguments.ranges, given, found)
            ranges = found | given
            if recovery is not None:
                recovered = recovery(calibrated, recipe, ranges)
                calibrated = recovered.calibrated
            if arguments.range_method:
                details["range_method"] = method
    if recovered:
        details["recovery"] = recovered.describe()
    if decision is not None:
        print(format_decision(decision))
    details = _describe(clips, noisy, calibrated) | details
    content = build_quantized(calibrated, recipe, ranges, details)
    if arguments.save_ranges:
        write_ranges(arguments.save_ranges, ranges)
    if arguments.report:
        made = Made(board, content, calibrated, recipe, ranges, clips, decision)
        with ProgressBars() as progress:
            figures = collect(made, progress)
        write_report(arguments.report, figures)
        print(f"wrote {arguments.report}: {PAGE}, {DATA}")
    return recipe, content


def _level(arguments: argparse.Namespace, recipe: "Recipe") -> float | None:
    """The level that features are brought near, as asked for or as the recipe has it."""
    if arguments.keep_level:
        return None
    return recipe.level_dbfs if arguments.level_dbfs is None else arguments.level_dbfs


def _recovery(
    arguments: argparse.Namespace,
    recipe: "Recipe | None",
    clips: "CalibrationClips",
    progress: "Progress",
) -> "Recovery | None":
    """As asked for; unasked where 8 bits hold a network badly, and clips are enough."""
    from quant.audio.clips import enough_to_hold_out, hold_out
    from quant.graph.recipes import RECIPES
    from quant.mixed_precision.auto import RECOVERY_STEPS
    from quant.training.recovery import WORTH_RECOVERING, RecoverySettings, recover

    unasked = arguments.recover is None
    if unasked:
        # Files of ranges are of the weights as they are.
        if arguments.ranges or arguments.save_ranges:
            return None
        # With float ends it gains nothing on voices other than those it learns from.
        if recipe is not None and recipe is not RECIPES["int8"]:
            return None
        if not enough_to_hold_out(clips):
            print("no recovery: too few clips to hold some out for validation", file=sys.stderr)
            return None
    minutes = math.inf if unasked else arguments.recover
    if not minutes:
        return None
    hold_out(clips)  # too few clips are found before minutes of calibration
    settings = RecoverySettings(minutes, clean_weight=arguments.recover_clean)
    if recipe is None:
        settings = replace(settings, steps=RECOVERY_STEPS)
    elif unasked:
        settings = replace(settings, least_loss=WORTH_RECOVERING)
    return partial(recover, clips=clips, settings=settings, progress=progress)


def _check_names(path: Path, given: "dict[str, Range]", ranges: "dict[str, Range]") -> None:
    from edge_se.errors import UserError

    unknown = [key for key in given if key not in ranges]
    if unknown:
        raise UserError(
            f"{path} gives a range to {unknown[0]}, which is no tensor of this network; "
            "--save-ranges shows their names"
        )


def _describe(clips: "CalibrationClips", noisy: list, calibrated: Any) -> dict[str, Any]:
    return {
        "clips": len(noisy),
        "clean": len(clips.clean),
        "noise": len(clips.noise),
        "skipped": len(clips.skipped),
        "frames": calibrated.statistics.frames,
    }
