"""Measure what each part of a network loses in 8 bits, in 16, and gains when left float."""

import argparse
from dataclasses import replace

from edge_se.options import input_path, output_folder
from quant.commands.options import add_network_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--clips",
        type=input_path,
        metavar="DIR",
        help="folder with clean/ and noise/, or with noisy clips (default: the built-in clips)",
    )
    parser.add_argument(
        "--out",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="folder for sensitivity.json, sensitivity.txt and sensitivity.png; made if missing",
    )


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, measure every scope, print the table and write it with a plot."""
    from calib_data import clips_folder
    from edge_se.files import make_folder, write_json, write_whole, written_beside
    from quant.audio.clips import read_calibration_clips
    from quant.commands.options import load_network
    from quant.commands.progress import ProgressBars
    from quant.evaluation.judge import SimulationJudge
    from quant.evaluation.sensitivity import (
        JUDGED_CLIPS,
        JUDGED_SECONDS,
        draw_sensitivity,
        format_sensitivity,
        measure_sensitivity,
    )
    from quant.graph.recipes import RECIPES
    from quant.mixed_precision.auto import split_clips
    from quant.ptq.pipeline import calibrate_checkpoint, noisy_clips

    make_folder(arguments.out)
    checkpoint = load_network(arguments)
    rate = checkpoint.signal.sample_rate
    clips = read_calibration_clips(arguments.clips or clips_folder(), rate)
    clips, judged = split_clips(clips, JUDGED_CLIPS, JUDGED_SECONDS)
    recipe = replace(RECIPES["int8"], level_dbfs=None)
    with ProgressBars() as progress:
        calibrated = calibrate_checkpoint(checkpoint, noisy_clips(clips), recipe, progress)
        sensitivity = measure_sensitivity(calibrated, SimulationJudge(judged, checkpoint), progress)
    table = format_sensitivity(sensitivity)
    write_json(arguments.out / "sensitivity.json", sensitivity.to_dict())
    write_whole(arguments.out / "sensitivity.txt", table + "\n")
    with written_beside(arguments.out / "sensitivity.png") as temporary:
        draw_sensitivity(sensitivity, temporary)
    print(table)
    return 0
