"""Score a model on noisy clips with known clean speech: PESQ-WB, STOI, SI-SNR, DNSMOS.

With --stress also how it stands knocks, levels, DC, hum, silence and clipping.

A separator is compared with a float one (--reference), with true vocals (--clean), and its windows
with one pass over the whole recording (--checkpoint).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.errors import UserError
from edge_se.options import (
    MOST_PROCESSES,
    add_model_arguments,
    add_strength_arguments,
    asked_enhancer,
    asked_strength,
    input_path,
    model_path,
    option_of,
    output_file,
    positive_float,
    positive_int,
)

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer
    from quant.evaluation.pairs import Pair
    from quant.evaluation.stress import Stress

MOST_SILENCE_MINUTES = 1440.0  # a day


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
        "--reference", type=model_path, metavar="MODEL", help="compare with this (float) model"
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
        "--stress",
        action="store_true",
        default=None,
        help="also measure how long it is another after knocks, and what levels from -65 to 0 "
        "dBFS, DC, hum, silence before speech and clipped input cost",
    )
    parser.add_argument(
        "--stress-plot",
        type=output_file,
        metavar="FILE",
        help="draw what --stress finds, as PNG",
    )
    parser.add_argument(
        "--silence-minutes",
        type=positive_float(MOST_SILENCE_MINUTES),
        metavar="MINUTES",
        help="of silence before speech, with --stress (default: 2)",
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
    from quant.evaluation.report import format_report, format_stress

    for name in ("stress_plot", "silence_minutes"):
        if getattr(arguments, name) is not None and not arguments.stress:
            raise UserError(f"{option_of(name)} needs --stress beside it")
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
    pairs = load_pairs(arguments.noisy, arguments.clean, rate)
    result = evaluate_pairs(
        model.enhance,
        pairs,
        reference=reference.enhance if reference else None,
        dnsmos=arguments.dnsmos,
        processes=arguments.processes,
        progress=True,
    )
    systems = {"enhanced": model} | ({"reference": reference} if reference else {})
    stress = _stress(systems, pairs, arguments) if arguments.stress else {}
    if arguments.json is not None:
        described = {
            "model": model.describe(),
            "strength": asdict(model.strength),
            "reference": reference.describe() if reference else None,
            **result.to_dict(),
        }
        if stress:
            described["stress"] = {name: found.to_dict() for name, found in stress.items()}
        write_json(arguments.json, described)
    if str(arguments.json) != STANDARD:
        print(format_report(result, per_clip=not arguments.summary))
        if stress:
            print(f"\n{format_stress(stress)}")
    return 0


def _stress(
    systems: "Mapping[str, Enhancer]", pairs: "Sequence[Pair]", arguments: argparse.Namespace
) -> "dict[str, Stress]":
    """Measure and, where it is asked for, draw."""
    from edge_se.files import write_whole
    from quant.commands.progress import ProgressBars
    from quant.evaluation.stress import SILENCE_S, measure_stress
    from quant.report import plots

    noisy, clean = [pair.noisy for pair in pairs], [pair.clean for pair in pairs]
    minutes = arguments.silence_minutes
    silence_s = SILENCE_S if minutes is None else 60 * minutes
    with ProgressBars() as progress:
        found = {
            name: measure_stress(model, noisy, clean, silence_s, progress, f"stress, {name}")
            for name, model in systems.items()
        }
    if arguments.stress_plot is not None:
        write_whole(arguments.stress_plot, plots.stress(found))
    return found


def _is_separator(path: Path | None) -> bool:
    """Whether a model file is a separator's; whatever else is wrong with it is told later."""
    from edge_se.engines import ENGINES
    from edge_se.model_file import read_manifest

    if path is None or path.suffix != ENGINES["tflite"] or not path.is_file():
        return False
    return read_manifest(path).chunk is not None
