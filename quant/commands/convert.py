"""Write the float streaming step of a network as ONNX, with named states."""

import argparse

from edge_se.options import output_file
from quant.commands.options import (
    add_module_arguments,
    add_network_arguments,
    load_module,
    load_network,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_network_arguments(parser)
    add_module_arguments(parser)
    parser.add_argument(
        "--out", type=output_file, required=True, help="model file to write (.onnx)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Convert and say what was made."""
    from edge_se.engines import ENGINES
    from edge_se.errors import UserError
    from edge_se.files import write_whole
    from quant.modules.onnx import build_module_onnx
    from quant.modules.own import OwnModule
    from quant.networks.checkpoint import Checkpoint
    from quant.ptq.onnx_step import build_onnx

    suffix = ENGINES["onnxruntime"]
    if arguments.out.suffix != suffix:
        raise UserError(f"{arguments.out} has to end in {suffix} to be recognised as ONNX")
    module = load_module(arguments)
    source: Checkpoint | OwnModule
    if module is None:
        source = checkpoint = load_network(arguments)
        content = build_onnx(checkpoint)
    else:
        source, content = module, build_module_onnx(module)
    write_whole(arguments.out, content)
    print(
        f"wrote {arguments.out}: {source.architecture} from {source.name}, float, "
        f"{len(content) / 1000:.0f} KB"
    )
    return 0
