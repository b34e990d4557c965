"""Write the float streaming step of a network as ONNX, with named states."""

import argparse

from edge_se.options import output_file
from quant.commands.options import add_network_arguments, load_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    parser.add_argument(
        "--out", type=output_file, required=True, help="model file to write (.onnx)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert and say what was made."""
    from edge_se.engines import ENGINES
    from edge_se.errors import UserError
    from edge_se.files import write_whole
    from quant.ptq.onnx_step import build_onnx

    suffix = ENGINES["onnxruntime"]
    if arguments.out.suffix != suffix:
        raise UserError(f"{arguments.out} has to end in {suffix} to be recognised as ONNX")
    checkpoint = load_network(arguments)
    content = build_onnx(checkpoint)
    write_whole(arguments.out, content)
    print(
        f"wrote {arguments.out}: {checkpoint.architecture} from {checkpoint.name}, float, "
        f"{len(content) / 1000:.0f} KB"
    )
    return 0
