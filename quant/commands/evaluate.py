"""Score a model on noisy clips with known clean speech: PESQ-WB, STOI, SI-SNR, DNSMOS.

A separator is compared with a float one (--reference), with true vocals (--clean), and its windows
with one pass over the whole recording (--checkpoint).
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from edge_se.errors import UserError
from edge_se.options import (
    MOST_PROCESSES,
    add_model_arguments,
    add_strength_arguments,
    asked_enhancer,
    asked_strength,
    input_path,
    output_file,
    positive_int,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    add_strength_arguments(parser)
    parser.add_argument(
        "--noisy", type=input_path, required=True, help="folder of noisy clips, or of mixtures"
    )
    parser.add_argument(
        "--clean", type=input_path, help="folder of clean clips (or vocals) with the same names"
    )
    parser.add_argument(
        "--json",
        type=output_file,
        metavar="FILE",
        help="also write all results there (-: standard output)",
    )
    parser.add_argument(
        "--dnsmos",
        type=input_path,
        metavar="FILE",
        help="sig_bak_ovr.onnx, to score DNSMOS P.835 too",
    )
    parser.add_argument(
        "--reference", type=input_path, metavar="MODEL", help="compare with this (float) model"
    )
    parser.add_argument(
        "--checkpoint",
        type=input_path,
        metavar="FILE",
        help="a separator's trained weights, to measure what its windows cost at their seams",
    )
    parser.add_argument(
        "--processes",
        type=positive_int(MOST_PROCESSES),
        default=1,
        metavar="N",
        help="processes that score (default: 1)",
    )
    parser.add_argument(
        "--summary", action="store_true", help="print means only, not a line per clip"
    )


def run(arguments: argparse.Namespace) -> int:
    """Score and report; returns the exit status."""
    from edge_se.enhancer import Enhancer
    from edge_se.files import STANDARD, write_json
    from quant.commands.evaluate_separator import evaluate_separator_model
    from quant.evaluation.evaluate import evaluate_pairs
    from quant.evaluation.pairs import load_pairs
    from quant.evaluation.report import format_report

    if _is_separator(arguments.model):
        return evaluate_separator_model(arguments)
    if arguments.clean is None or arguments.checkpoint is not None:
        raise UserError("an enhancer is scored with --clean DIR, and --checkpoint is none of its")
    model = asked_enhancer(arguments)
    reference = Enhancer(arguments.reference) if arguments.reference else None
    rate = model.sample_rate
    if reference is not None:
        reference.strength = asked_strength(arguments, reference.strength)
    if reference is not None and reference.sample_rate != rate:
        raise UserError(
            f"{reference.model_path} runs at {reference.sample_rate} Hz and {model.model_path} at "
            f"{rate}; compare models of one rate"
        )
    result = evaluate_pairs(
        model.enhance,
        load_pairs(arguments.noisy, arguments.clean, rate),
        reference=reference.enhance if reference else None,
        dnsmos=arguments.dnsmos,
        processes=arguments.processes,
        progress=True,
    )
    if arguments.json is not None:
        described = {
            "model": model.describe(),
            "strength": asdict(model.strength),
            "reference": reference.describe() if reference else None,
            **result.to_dict(),
        }
        write_json(arguments.json, described)
    if str(arguments.json) != STANDARD:
        print(format_report(result, per_clip=not arguments.summary))
    return 0


def _is_separator(path: Path | None) -> bool:
    """Whether a model file is a separator's; whatever else is wrong with it is told later."""
    from edge_se.engines import ENGINES
    from edge_se.model_file import read_manifest

    if path is None or path.suffix != ENGINES["tflite"] or not path.is_file():
        return False
    return read_manifest(path).chunk is not None
