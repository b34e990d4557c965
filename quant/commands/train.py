"""Train a network on folders of clean speech and noise."""

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, Any

from edge_se.errors import UserError
from edge_se.options import (
    MOST_MINUTES,
    MOST_PROCESSES,
    Number,
    count,
    output_folder,
    positive_float,
    positive_int,
    weight,
    word,
)
from quant.commands.options import (
    add_architecture_arguments,
    add_corpus_arguments,
    checkpoint_path,
    load_corpus_parts,
)

if TYPE_CHECKING:
    from torch import nn

    from quant.networks.network import Network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_corpus_arguments(parser)
    parser.add_argument("--out", type=output_folder, required=True, help="folder for checkpoints")
    add_architecture_arguments(parser)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=positive_float(MOST_MINUTES), help="training time (default: 90)"
    )
    budget.add_argument("--steps", type=positive_int(), help="number of batches instead")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUT")
    numbers: tuple[tuple[str, Number, float, str], ...] = (
        ("--validation-mixtures", positive_int(10_000), 24, "mixtures to validate on"),
        ("--validate-every", positive_int(), 400, "steps between validations"),
        ("--patience", positive_int(), 20, "stop after so many validations without a better PESQ"),
        ("--batch-size", positive_int(4096), 8, "mixtures in a batch"),
        ("--seconds", Number(float, 0.1, 60), 3.0, "length of a mixture"),
        ("--learning-rate", positive_float(1), 2e-3, "highest learning rate"),
        ("--warmup-steps", positive_int(), 300, "steps over which the learning rate rises"),
        ("--si-snr-weight", weight, 1.0, "weight of SI-SNR in the loss"),
        ("--outlier-weight", weight, 0.0, "weight of the penalty on outliers, bad for 8 bits"),
        (
            "--accidents",
            Number(float, 0, 1),
            0.25,
            "share of mixtures with levels, DC, hum, knocks",
        ),
        ("--perceptual-weight", weight, 0.0, "weight of the perceptual loss, what PESQ hears"),
        (
            "--fading-weight",
            weight,
            0.0,
            "weight of the penalty on attention that is slow to forget",
        ),
        ("--teacher-weight", weight, 1.0, "weight of the loss to the teacher's output"),
    )
    for name, kind, default, meaning in numbers:
        parser.add_argument(
            name,
            type=kind,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default:g})",
        )
    parser.add_argument(
        "--precision",
        choices=("float", "int8"),
        default="float",
        help="int8: train also what the static INT8 file of the network computes, with its "
        "rounding; best started from a trained network by --init (default: %(default)s)",
    )
    parser.add_argument(
        "--init",
        nargs="+",
        type=checkpoint_path,
        metavar="CHECKPOINT",
        help="start from the weights of this checkpoint, or from the mean of several's",
    )
    parser.add_argument(
        "--teacher",
        type=checkpoint_path,
        metavar="CHECKPOINT",
        help="learn the output of this trained network too, beside the clean speech",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        type=word,
        default=[],
        metavar="GLOB",
        help="train only weights of these names, such as 'decoder.*', and keep the others, "
        "BatchNorm's statistics too",
    )
    parser.add_argument(
        "--seed", type=count(), default=0, help="of weights and mixtures (default: 0)"
    )
    parser.add_argument(
        "--threads",
        type=positive_int(MOST_PROCESSES),
        help="threads to compute with (default: torch's choice)",
    )
    parser.add_argument(
        "--workers",
        type=count(MOST_PROCESSES),
        default=1,
        help="processes that make mixtures (default: 1)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    import torch

    from quant.training.accidents import AccidentSettings
    from quant.training.loop import BEST, LAST, Budget, RunOptions, Trainer, TrainingSettings
    from quant.training.teacher import load_teacher
    from quant.training.validation import score_noisy, validation_mixtures

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model, network, network_options = _network(arguments)
    if network.separates:
        raise UserError(
            f"edge-se train trains enhancers, and {network.name} is a separator; train it by "
            "upstream's code and quantize its checkpoint"
        )
    rate = network.signal(model).sample_rate
    teacher = load_teacher(arguments.teacher, rate) if arguments.teacher else None
    speech, held_out_speech = load_corpus_parts(arguments.clean, arguments, rate)
    noise, held_out_noise = load_corpus_parts(arguments.noise, arguments, rate)
    settings = TrainingSettings(
        architecture=network.name,
        network_options=network_options,
        batch_size=arguments.batch_size,
        seconds=arguments.seconds,
        learning_rate=arguments.learning_rate,
        warmup_steps=arguments.warmup_steps,
        outlier_weight=arguments.outlier_weight,
        si_snr_weight=arguments.si_snr_weight,
        perceptual_weight=arguments.perceptual_weight,
        fading_weight=arguments.fading_weight,
        only=tuple(arguments.only),
        precision=arguments.precision,
        teacher=teacher.sha256 if teacher else "",
        teacher_weight=arguments.teacher_weight,
        seed=arguments.seed,
        accidents=AccidentSettings(share=arguments.accidents),
    )
    minutes = 90.0 if arguments.steps is None and arguments.minutes is None else arguments.minutes
    options = RunOptions(
        out=arguments.out,
        budget=Budget(arguments.steps, minutes),
        validate_every=arguments.validate_every,
        patience=arguments.patience,
        workers=arguments.workers,
        # Rounding is simulated on the CPU alone.
        device="cuda" if torch.cuda.is_available() and arguments.precision == "float" else "cpu",
    )
    trainer = Trainer(model, settings, options, teacher)
    if arguments.resume:
        trainer.resume()
    elif any((arguments.out / name).exists() for name in (LAST, BEST)):
        raise UserError(
            f"{arguments.out} holds a training run already; add --resume or choose another folder."
        )
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(
        f"{speech.minutes:.1f} min of speech in {len(speech.clips)} clips, {noise.minutes:.1f} min"
        f" of noise in {len(noise.clips)}; held out: {held_out_speech.minutes:.1f} and"
        f" {held_out_noise.minutes:.1f} min",
        flush=True,
    )
    mixtures = validation_mixtures(
        held_out_speech, held_out_noise, arguments.validation_mixtures, seconds=4, seed=0
    )
    print(f"noisy validation mixtures: {score_noisy(mixtures, rate)}", flush=True)
    description = {
        "command": shlex.join(["edge-se", *sys.argv[1:]]),
        "speech": {"clips": len(speech.clips), "minutes": round(speech.minutes, 1)},
        "noise": {"clips": len(noise.clips), "minutes": round(noise.minutes, 1)},
        "torch": torch.__version__,
    }
    reason = trainer.run(speech, noise, mixtures, description)
    best = trainer.progress
    print(f"{reason} Best: PESQ-WB {best.best:.3f} at step {best.best_step}, {options.out / BEST}")
    return 0


def _network(arguments: argparse.Namespace) -> "tuple[nn.Module, Network, dict[str, Any]]":
    """A new module, or that of the checkpoint to start from; its network and options."""
    from quant.networks.checkpoint import load_checkpoint
    from quant.networks.registry import DEFAULT, find_network
    from quant.training.mean import take_mean

    options = dict(arguments.network_option)
    if arguments.init is None:
        name = arguments.architecture
        network = find_network(name) if name else DEFAULT
        return network.create(**options), network, options
    first, *others = (
        load_checkpoint(path, arguments.architecture, **options) for path in arguments.init
    )
    take_mean(first, others)
    return first.model, first.network, dict(first.options)
