"""Write a C engine for a trained network: portable sources that need nothing but a compiler."""

import argparse
from pathlib import Path

from quant.commands.options import add_network_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write the sources into"
    )
    parser.add_argument(
        "--arithmetic",
        choices=("float", "fixed"),
        default="float",
        help="float: float samples, equal to the network up to rounding; fixed: int16 samples, "
        "8-bit weights, 16-bit values, no floating point (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration-clips",
        type=Path,
        metavar="DIR",
        help="clips that fixed is calibrated with, as of quantize (default: the built-in clips)",
    )
    parser.add_argument(
        "--prefix",
        default="gtcrn",
        help="of files, functions and types, to link several engines (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Generate and say what was made and how to compile it."""
    import shlex

    from edge_se.errors import UserError
    from edge_se.files import written_beside
    from quant.audio.clips import read_calibration_clips
    from quant.checkpoints import default_checkpoint_path
    from quant.commands.progress import ProgressBars
    from quant.networks.checkpoint import load_checkpoint
    from quant.ptq.pipeline import noisy_clips
    from targets.c.generate import FLAGS, generate

    prefix = arguments.prefix
    if not (prefix.isidentifier() and prefix.isascii()):
        raise UserError(f"--prefix {prefix} is no name in C; use letters, digits and underscores")
    if arguments.out.exists() and not arguments.out.is_dir():
        raise UserError(f"{arguments.out} is a file; give a folder to write the sources into")
    checkpoint = load_checkpoint(
        arguments.checkpoint or default_checkpoint_path(), arguments.architecture
    )
    noisy = None
    if arguments.calibration_clips:
        if arguments.arithmetic == "float":
            raise UserError("--calibration-clips needs --arithmetic fixed; float has no ranges")
        noisy = noisy_clips(read_calibration_clips(arguments.calibration_clips))
    with ProgressBars() as progress:
        files = generate(checkpoint, arguments.arithmetic, prefix, noisy, progress)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {arguments.out}: {error.strerror}; choose another") from error
    for name, text in files.items():
        with written_beside(arguments.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(
        f"wrote {', '.join(files)} to {arguments.out}: {checkpoint.architecture} from "
        f"{checkpoint.name} in {arguments.arithmetic}; compile with\n"
        f"  cc {shlex.join(FLAGS)} -c {arguments.out / prefix}.c"
    )
    return 0
