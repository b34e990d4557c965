"""What `evaluate` does for separators."""

import argparse

from edge_se.errors import UserError


def evaluate_separator_model(arguments: argparse.Namespace) -> int:
    """Compare a separator with a float one, its stems with the true ones, its seams with none."""
    from edge_se.files import STANDARD, write_json
    from edge_se.separator import Separator
    from quant.networks.checkpoint import load_checkpoint
    from quant.separation.evaluation import evaluate_separator, format_separation

    for name in ("engine", "stft", "dnsmos", "max_attenuation", "mix"):
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} means nothing to {arguments.model}, which is a separator")
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
    if arguments.json is not None:
        described = {
            "model": model.describe(),
            "reference": reference.describe() if reference else None,
            "clips": rows,
        }
        write_json(arguments.json, described)
    if str(arguments.json) != STANDARD:
        print(format_separation(rows, per_clip=not arguments.summary))
    return 0
