"""Quantize a trained network with calibration clips into one .tflite model file."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_se.options import (
    MOST_MINUTES,
    Number,
    add_strength_arguments,
    asked_strength,
    input_path,
    option_of,
    output_file,
    output_folder,
    positive_float,
    weight,
    word,
)
from quant.commands.options import (
    add_module_arguments,
    add_network_arguments,
    load_module,
    load_network,
)

if TYPE_CHECKING:
    from quant.graph.recipes import Recipe
    from quant.networks.network import Network

# Options that mean nothing to a module of one's own.
NOT_OF_MODULES = ("recover",)
# Options that mean nothing to a separator, by their names in the namespace.
ENHANCER_OPTIONS = (
    *("level_dbfs", "keep_level", "ranges", "save_ranges", "recover", "report"),
    *("listener", "max_attenuation", "mix"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    add_module_arguments(parser)
    parser.add_argument(
        "--out", type=output_file, required=True, help="model file to write (.tflite)"
    )
    parser.add_argument(
        "--calibration-clips",
        type=input_path,
        metavar="DIR",
        help="folder with clean/ and noise/, or with noisy clips (default: the built-in clips)",
    )
    parser.add_argument(
        "--precision",
        type=word,
        default="auto",
        metavar="NAME",
        help="int8: weights, activations, states, inputs and outputs in 8 bits; "
        "int8_float_ends: so but for the first and last two convolutions and what is around them, "
        "which stay float; int8_float_coders: the encoder and the decoder stay float; int16x8: "
        "activations in 16; dynamic: 8-bit weights only; float; the name of a recipe file, "
        "RECIPE.toml; auto: the cheapest on the board of these static ones and dynamic within the "
        "quality budget, or int8 of a --module (default: %(default)s)",
    )
    parser.add_argument(
        "--quality-budget",
        type=positive_float(5),  # PESQ-WB is between 1 and 4.7
        default=0.02,
        metavar="PESQ",
        help="what auto may lose, in PESQ-WB; with noisy clips alone, where PESQ can't be "
        "measured, an SNR to the float network stands for it (default: %(default)s)",
    )
    parser.add_argument(
        "--board",
        type=word,
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
        type=Number(float, -120, 20),
        metavar="DB",
        help="bring what the network hears nearer to this level, by powers of two that follow the "
        "signal, where it is more than 12 dB louder or 18 dB softer; take DC off, and forget "
        "knocks (default: -25, and what a recipe file says)",
    )
    level.add_argument(
        "--keep-level",
        action="store_true",
        default=None,
        help="no front end: let the network hear every level, DC and knock as it is",
    )
    add_strength_arguments(parser, default="")
    parser.add_argument(
        "--ranges",
        type=input_path,
        metavar="FILE",
        help="use the tensor ranges of this file instead of calibrated ones",
    )
    parser.add_argument(
        "--save-ranges",
        type=output_file,
        metavar="FILE",
        help="write the tensor ranges used (JSON)",
    )
    parser.add_argument(
        "--recover",
        type=Number(float, 0, MOST_MINUTES),
        metavar="MINUTES",
        help="fine-tune the weights against their rounding for so long, or 80 steps at most, "
        "towards the float network's output on the calibration clips; held-out ones decide what "
        "is kept (default: only where int8 is far from float, or auto finds nothing static that "
        "will do, which then takes 60 steps)",
    )
    parser.add_argument(
        "--recover-clean",
        type=weight,
        default=0.0,
        metavar="WEIGHT",
        help="of the clean speech as a target of --recover beside the float network's output: for "
        "clips of many real speakers (default: 0)",
    )
    parser.add_argument(
        "--report",
        type=output_folder,
        metavar="DIR",
        help="measure what was lost and write a page about it, report.html and report.json",
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantize and say what was made."""
    from edge_se.files import make_folder
    from quant.commands.progress import ProgressBars
    from quant.mixed_precision.auto import format_decision
    from quant.quantized import quantize, require_model_name
    from quant.report.page import DATA, PAGE

    require_model_name(arguments.out)
    if arguments.report:  # before minutes of calibration
        make_folder(arguments.report)
    module = load_module(arguments)
    if module is None:
        checkpoint = load_network(arguments)
        recipe = _recipe(arguments, checkpoint.network, checkpoint.architecture)
    else:
        checkpoint = None
        recipe = _recipe(arguments, None, module.architecture)
    recovery_minutes = arguments.recover
    if arguments.save_ranges and recovery_minutes is None:
        recovery_minutes = 0  # a file of ranges is of the weights as they are
    with ProgressBars() as progress:
        quantized = quantize(
            checkpoint,
            arguments.calibration_clips,
            recipe or "auto",
            module=module,
            progress=progress,
            quality_budget=arguments.quality_budget,
            board=arguments.board,
            ranges=arguments.ranges,
            recovery_minutes=recovery_minutes,
            recovery_clean_weight=arguments.recover_clean,
            strength=asked_strength(arguments),
        )
    # Files first: whatever becomes of what is said, the work is done.
    quantized.save(arguments.out)
    if arguments.save_ranges:
        quantized.save_ranges(arguments.save_ranges)
    for note in (*(f"skipped {clip}" for clip in quantized.skipped), *quantized.notes):
        print(note, file=sys.stderr)
    if quantized.decision is not None:
        print(format_decision(quantized.decision))
    if arguments.report:
        with ProgressBars() as progress:
            quantized.report(arguments.report, progress)
        print(f"wrote {arguments.report}: {PAGE}, {DATA}")
    print(
        f"wrote {arguments.out}: {quantized.checkpoint.architecture} from "
        f"{quantized.checkpoint.name}, "
        f"{quantized.recipe.name}, {len(quantized.content) / 1000:.0f} KB"
    )
    return 0


def _recipe(
    arguments: argparse.Namespace, network: "Network | None", architecture: str
) -> "Recipe | None":
    """The recipe that is asked for, with the range method and level that are; None for auto.

    Args:
        arguments: of the command.
        network: of this project; None for a module of one's own.
        architecture: what errors call it.

    Raises:
        UserError: an option means nothing to this network or beside this precision.
    """
    from edge_se.errors import UserError
    from quant.quantized import as_recipe

    refused: tuple[str, ...] = ()
    why = ""
    if network is None:
        refused, why = NOT_OF_MODULES, "a module of your own"
    elif network.separates:
        refused, why = ENHANCER_OPTIONS, "a separator"
    for name in refused:
        if getattr(arguments, name) is not None:
            raise UserError(
                f"{option_of(name)} means nothing to {architecture}, which is {why}; leave it out"
            )
    recipe = as_recipe(arguments.precision, network)
    for name in ("level_dbfs", "keep_level"):
        if recipe is None and getattr(arguments, name) is not None:
            raise UserError(
                f"--precision auto sees to levels; name a precision beside {option_of(name)}"
            )
    for name in ("ranges", "save_ranges", "range_method"):
        if getattr(arguments, name) and (recipe is None or not recipe.needs_ranges):
            raise UserError(
                f"{option_of(name)} needs a --precision with calibrated ranges, as int8"
            )
    if arguments.recover and recipe is not None and not recipe.is_static:
        raise UserError("--recover is for activations in 8 or 16 bits; name a --precision as int8")
    if recipe is None:
        return None
    if arguments.report and recipe.is_float:
        raise UserError("--report compares with float; choose another --precision beside it")
    if arguments.range_method:
        recipe = replace(recipe, ranges=arguments.range_method)
    if arguments.keep_level:
        return replace(recipe, level_dbfs=None)
    if arguments.level_dbfs is not None:
        return replace(recipe, level_dbfs=arguments.level_dbfs)
    return recipe
