"""What `quantize` and `evaluate` do for separators."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.errors import UserError

if TYPE_CHECKING:
    from quant.graph.recipes import Recipe
    from quant.networks.checkpoint import Checkpoint

# Options of `quantize` by their names in its namespace, and what they are without being given.
SEPARATOR_OPTIONS = ("sample_rate", "hop", "window_frames")
ENHANCER_OPTIONS = (
    *("level_dbfs", "keep_level", "ranges", "save_ranges", "range_method", "recover", "report"),
)
PRECISIONS = ("float", "dynamic", "int8", "int16x8")


def add_separator_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `quantize` has to be told about a separator."""
    group = parser.add_argument_group(
        "separators", "what a separator's checkpoint does not tell; kept in the manifest"
    )
    group.add_argument(
        "--sample-rate", type=int, metavar="HZ", help="it was trained at (default: 44100)"
    )
    group.add_argument(
        "--hop", type=int, metavar="SAMPLES", help="of its transform (default: half its n_fft)"
    )
    group.add_argument(
        "--window-frames",
        type=int,
        metavar="N",
        help="frames of a window, a multiple of 16 (default: 512 for cascaded_aspp, 256 for "
        "cascaded_lstm)",
    )


def is_separator(checkpoint: "Checkpoint", arguments: argparse.Namespace) -> bool:
    """Whether `quantize` has a separator before it.

    Raises:
        UserError: an option belongs to the other kind of network.
    """
    from quant.separation import WINDOWS

    separates = checkpoint.architecture in WINDOWS
    for name in ENHANCER_OPTIONS if separates else SEPARATOR_OPTIONS:
        if getattr(arguments, name) is not None:
            kind = "a separator" if separates else "an enhancer"
            raise UserError(
                f"--{name.replace('_', '-')} means nothing to {checkpoint.architecture}, which is "
                f"{kind}; leave it out"
            )
    return separates


def quantize_separator(
    arguments: argparse.Namespace,
    checkpoint: "Checkpoint",
    recipe: "Recipe | None",
    path: Path,
) -> "tuple[Recipe, bytes]":
    """Calibrate, build and compare with the float network; for no recipe, INT8.

    Args:
        arguments: of `quantize`.
        checkpoint: the separator.
        recipe: precision of every operator, or None.
        path: where the file may be written to be tried.

    Returns:
        The recipe, and the model file with its mask SNR in the manifest.
    """
    from calib_data import clips_folder
    from edge_se.model_file import attach_manifest, read_model
    from quant.commands.progress import ProgressBars
    from quant.graph.recipes import find_recipe
    from quant.ptq.pipeline import build_quantized
    from quant.separation.clips import read_mixtures
    from quant.separation.evaluation import mask_quality
    from quant.separation.pipeline import (
        SeparationOptions,
        build_float_separator,
        calibrate_separator,
        pick_windows,
        separator_format,
        separator_ranges,
        split_windows,
    )

    recipe = recipe or find_recipe("int8")
    if recipe.name not in PRECISIONS:
        raise UserError(
            f"--precision {recipe.name} is for enhancers; for {checkpoint.architecture} choose one "
            f"of: {', '.join(PRECISIONS)}"
        )
    given = {name: getattr(arguments, name) for name in SEPARATOR_OPTIONS}
    form = separator_format(
        checkpoint, SeparationOptions(**{k: v for k, v in given.items() if v is not None})
    )
    if recipe.name == "float":
        return recipe, build_float_separator(checkpoint, form, recipe)
    clips = read_mixtures(arguments.calibration_clips or clips_folder(), form.sample_rate)
    for skipped in clips.skipped:
        print(f"skipped {skipped}")
    calibration, judged = split_windows(pick_windows(clips.mixtures, form))
    with ProgressBars() as progress:
        calibrated = calibrate_separator(checkpoint, form, calibration, progress)
    details = {"clips": len(clips.mixtures), "windows": len(calibration)}
    ranges = separator_ranges(calibrated.statistics) if recipe.needs_ranges else {}
    path.write_bytes(build_quantized(calibrated, recipe, ranges, details))
    quality = mask_quality(path, checkpoint.model, judged)
    print(
        f"mask SNR to the float network {quality['mask_snr_db']} dB, largest error "
        f"{quality['mask_largest_error']}, on {len(judged)} windows kept from calibration"
    )
    content, manifest = read_model(path)
    return recipe, attach_manifest(content, replace(manifest, quality=quality))


def evaluate_separator_model(arguments: argparse.Namespace) -> int:
    """Compare a separator with a float one, its stems with the true ones, its seams with none."""
    from edge_se.files import written_beside
    from edge_se.separator import Separator
    from quant.networks.checkpoint import load_checkpoint
    from quant.separation.evaluation import evaluate_separator, format_separation

    for name in ("engine", "stft", "dnsmos"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} means nothing to {arguments.model}, which is a separator")
    model = Separator(arguments.model, arguments.runtime)
    reference = Separator(arguments.reference, arguments.runtime) if arguments.reference else None
    if reference is not None and reference.manifest.chunk != model.manifest.chunk:
        raise UserError(
            f"{arguments.reference} has other windows than {arguments.model}; make both alike"
        )
    network = None
    if arguments.checkpoint:
        manifest = model.manifest
        options = manifest.checkpoint.get("options", {})
        network = load_checkpoint(arguments.checkpoint, manifest.architecture, **options).model
    rows = evaluate_separator(model, arguments.noisy, reference, arguments.clean, network)
    print(format_separation(rows, per_clip=not arguments.summary))
    if arguments.json:
        described = {
            "model": model.describe(),
            "reference": reference.describe() if reference else None,
            "clips": rows,
        }
        with written_beside(arguments.json) as path:
            path.write_text(json.dumps(described, indent=1, allow_nan=False) + "\n")
    return 0
