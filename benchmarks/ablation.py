"""What each skip fusion of the U-shaped GTCRN costs, and what it gives after an equal training."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.benchmark import bursts
from edge_se.comparison import compare
from edge_se.errors import UserError, run_script
from edge_se.files import write_json, written_beside
from edge_se.inspection import inspect_model
from edge_se.options import positive_float, positive_int
from edge_se.peers import Ours
from quant.audio.clips import read_calibration_clips
from quant.audio.mixing import Mixture
from quant.commands.options import add_corpus_arguments, load_corpus_parts
from quant.graph.recipes import find_recipe
from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.gtcrn_unet import NETWORK
from quant.networks.gtcrn_unet.model import FUSIONS
from quant.ptq.pipeline import build_quantized, calibrate_checkpoint, find_ranges, noisy_clips
from quant.training.data import Corpus
from quant.training.loop import BEST, LAST, Budget, RunOptions, Trainer, TrainingSettings
from quant.training.validation import (
    Scores,
    score_model,
    score_noisy,
    score_signals,
    validation_mixtures,
)

PRECISION = "int8"
TIMED_SECONDS = 20.0
# Small batches make more steps of the time.
SHORT_TRAINING = TrainingSettings(NETWORK.name, batch_size=4, seconds=2.0, warmup_steps=50)


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        fusion: of the network.
        steps: of training.
        parameters: trained ones.
        macs_per_second: multiply-accumulates for a second of audio.
        state_bytes: of the INT8 file.
        frame_us: 5th percentile and median of a frame of the INT8 file in the whole loop.
        size_kb: of the INT8 file.
        trained: scores of the float network.
        quantized: scores of the INT8 file in the loop.
    """

    fusion: str
    steps: int
    parameters: int
    macs_per_second: int
    state_bytes: int
    frame_us: dict[str, float]
    size_kb: float
    trained: Scores
    quantized: Scores

    def to_dict(self) -> dict[str, Any]:
        """The row for JSON."""
        return asdict(self)


def train_variant(
    fusion: str,
    settings: TrainingSettings,
    options: RunOptions,
    speech: Corpus,
    noise: Corpus,
    mixtures: list[Mixture],
    description: dict[str, Any],
) -> int:
    """Train one network into `options.out`, or go on with what is there; returns its steps.

    Raises:
        UserError: a signal ended it.
    """
    torch.manual_seed(settings.seed)
    trainer = Trainer(NETWORK.create(fusion=fusion), settings, options)
    options.out.mkdir(parents=True, exist_ok=True)
    if (options.out / LAST).exists():
        trainer.resume()
    trainer.run(speech, noise, mixtures, description)
    if options.budget.fraction(trainer.progress) < 1:
        raise UserError(f"the training of {fusion} was interrupted; run the command again to go on")
    return trainer.progress.step


def run_ablation(
    fusions: Sequence[str],
    out: Path,
    budget: Budget,
    corpora: tuple[Corpus, Corpus],
    mixtures: list[Mixture],
    clips: Path,
    seed: int,
    description: dict[str, Any],
) -> list[Variant]:
    """Train a network for each fusion on the same batches, quantize it, time all by turns.

    Args:
        fusions: the rows.
        out: folder for a training run and a model file each; finished runs in it are kept.
        budget: of each training.
        corpora: speech and noise to train on.
        mixtures: to score on, of other speech and noise.
        clips: folder to calibrate with, as of `edge-se quantize`.
        seed: of weights and mixtures.
        description: what to record in the checkpoints.
    """
    folders, steps = {fusion: out / fusion for fusion in fusions}, {}
    for fusion, folder in folders.items():
        print(f"training {fusion}", file=sys.stderr, flush=True)
        settings = replace(SHORT_TRAINING, network_options={"fusion": fusion}, seed=seed)
        options = RunOptions(folder, budget, validate_every=sys.maxsize, patience=1)
        steps[fusion] = train_variant(fusion, settings, options, *corpora, mixtures, description)
    noisy = noisy_clips(read_calibration_clips(clips, SIGNAL.sample_rate))
    files = {fusion: out / f"{fusion}_{PRECISION}.tflite" for fusion in fusions}
    for fusion, path in files.items():
        print(f"quantizing {fusion}", file=sys.stderr, flush=True)
        checkpoint = load_checkpoint(folders[fusion] / BEST)
        recipe = find_recipe(PRECISION)
        with torch.no_grad():
            calibrated = calibrate_checkpoint(checkpoint, noisy, recipe)
            ranges = find_ranges(calibrated, recipe)
            content = build_quantized(calibrated, recipe, ranges, {"clips": len(noisy)})
        with written_beside(path) as temporary:
            temporary.write_bytes(content)
    peers = [Ours(Enhancer(path)) for path in files.values()]
    times = compare(peers, bursts(SIGNAL.sample_rate), TIMED_SECONDS)
    return [
        _measure(fusion, steps[fusion], folders[fusion] / BEST, path, timed["frame_us"], mixtures)
        for (fusion, path), timed in zip(files.items(), times, strict=True)
    ]


@torch.no_grad()
def _measure(
    fusion: str,
    steps: int,
    weights: Path,
    file: Path,
    frame_us: dict[str, float],
    mixtures: list[Mixture],
) -> Variant:
    checkpoint, enhancer = load_checkpoint(weights), Enhancer(file)
    network, inspected = checkpoint.model, inspect_model(file)
    macs = checkpoint.step().multiplications / checkpoint.signal.hop_seconds
    return Variant(
        fusion=fusion,
        steps=steps,
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        macs_per_second=round(macs),
        state_bytes=inspected["state_bytes"],
        frame_us=frame_us,
        size_kb=inspected["size_kb"],
        trained=score_model(network, checkpoint.signal, mixtures, torch.device("cpu")),
        quantized=score_signals(
            [enhancer.enhance(m.noisy) for m in mixtures], mixtures, enhancer.sample_rate
        ),
    )


def format_table(variants: Sequence[Variant], noisy: Scores) -> str:
    """The rows as a Markdown table, the noisy mixtures' scores first."""
    header = (
        "fusion",
        "steps",
        "parameters",
        "M MAC/s",
        "states, bytes",
        "INT8 frame µs p5 / p50",
        "INT8 kB",
        "PESQ-WB float / INT8",
        "SI-SNR dB float / INT8",
    )
    rows = [
        ("noisy", *[""] * 6, f"{noisy.pesq:.3f}", f"{noisy.si_snr:.2f}"),
        *(
            (
                v.fusion,
                str(v.steps),
                str(v.parameters),
                f"{v.macs_per_second / 1e6:.1f}",
                str(v.state_bytes),
                f"{v.frame_us['p5']:.0f} / {v.frame_us['p50']:.0f}",
                f"{v.size_kb:.0f}",
                f"{v.trained.pesq:.3f} / {v.quantized.pesq:.3f}",
                f"{v.trained.si_snr:.2f} / {v.quantized.si_snr:.2f}",
            )
            for v in variants
        ),
    ]
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    """Train, quantize and time each network; print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    add_corpus_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for training runs and model files"
    )
    parser.add_argument(
        "--fusions", nargs="+", metavar="NAME", help="fusions to compare (default: all)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=positive_float(), help="training time of each network (default: 6)"
    )
    length.add_argument("--steps", type=positive_int(), help="number of batches of each instead")
    parser.add_argument(
        "--clips",
        type=Path,
        default=clips_folder(),
        metavar="DIR",
        help="to calibrate with (default: the embedded ones)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and mixtures (default: 0)")
    parser.add_argument(
        "--threads", type=positive_int(), help="threads to compute with (default: torch's choice)"
    )
    parser.add_argument(
        "--validation-mixtures",
        type=positive_int(),
        default=24,
        metavar="N",
        help="mixtures to score on (default: 24)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")

    arguments = parser.parse_args()
    fusions = arguments.fusions or list(FUSIONS)
    unknown = [fusion for fusion in fusions if fusion not in FUSIONS]
    if unknown:
        raise UserError(f"there is no fusion {unknown[0]!r}; choose from {', '.join(FUSIONS)}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    speech, held_out_speech = load_corpus_parts(arguments.clean, arguments, SIGNAL.sample_rate)
    noise, held_out_noise = load_corpus_parts(arguments.noise, arguments, SIGNAL.sample_rate)
    mixtures = validation_mixtures(
        held_out_speech, held_out_noise, arguments.validation_mixtures, seconds=4, seed=0
    )
    budget = (
        Budget(steps=arguments.steps) if arguments.steps else Budget(minutes=arguments.minutes or 6)
    )
    description = {
        "command": shlex.join(["python", "-m", "benchmarks.ablation", *sys.argv[1:]]),
        "torch": torch.__version__,
    }
    variants = run_ablation(
        *(fusions, arguments.out, budget, (speech, noise), mixtures),
        *(arguments.clips, arguments.seed, description),
    )
    noisy = score_noisy(mixtures, SIGNAL.sample_rate)
    print(format_table(variants, noisy))
    if arguments.json:
        write_json(arguments.json, [variant.to_dict() for variant in variants])
    return 0


if __name__ == "__main__":
    run_script(main)
