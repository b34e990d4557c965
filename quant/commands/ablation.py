"""Compare the skip fusions of gtcrn_unet: costs, and quality after an equal short training."""

import argparse
import shlex
import sys
from pathlib import Path

from quant.commands.options import add_corpus_arguments, load_corpus_parts, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_corpus_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for training runs and model files"
    )
    parser.add_argument(
        "--fusions", nargs="+", metavar="NAME", help="fusions to compare (default: all)"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=positive(float), help="training time of each network (default: 6)"
    )
    budget.add_argument("--steps", type=positive(int), help="number of batches of each instead")
    parser.add_argument("--seed", type=int, default=0, help="of weights and mixtures (default: 0)")
    parser.add_argument(
        "--threads", type=positive(int), help="threads to compute with (default: torch's choice)"
    )
    parser.add_argument(
        "--validation-mixtures",
        type=positive(int),
        default=24,
        metavar="N",
        help="mixtures to score on (default: 24)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")


def run(arguments: argparse.Namespace) -> int:
    """Train, quantize and time each network; print the table."""
    import torch

    from edge_se.errors import UserError
    from edge_se.files import write_json
    from quant.ablation import format_table, run_ablation
    from quant.models.gtcrn_unet import FUSIONS
    from quant.training.loop import Budget
    from quant.training.validation import score_noisy, validation_mixtures

    fusions = arguments.fusions or list(FUSIONS)
    unknown = [fusion for fusion in fusions if fusion not in FUSIONS]
    if unknown:
        raise UserError(f"there is no fusion {unknown[0]!r}; choose from {', '.join(FUSIONS)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    speech, held_out_speech = load_corpus_parts(arguments.clean, arguments)
    noise, held_out_noise = load_corpus_parts(arguments.noise, arguments)
    mixtures = validation_mixtures(
        held_out_speech, held_out_noise, arguments.validation_mixtures, seconds=4, seed=0
    )
    budget = (
        Budget(steps=arguments.steps) if arguments.steps else Budget(minutes=arguments.minutes or 6)
    )
    description = {"command": shlex.join(["edge-se", *sys.argv[1:]]), "torch": torch.__version__}
    variants = run_ablation(
        fusions, arguments.out, budget, (speech, noise), mixtures, arguments.seed, description
    )
    noisy = score_noisy(mixtures)
    print(format_table(variants, noisy))
    if arguments.json:
        write_json(arguments.json, [variant.to_dict() for variant in variants])
    return 0
