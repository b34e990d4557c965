"""Arguments that several commands of the runtime share."""

import argparse
from pathlib import Path

from edge_se.engines import ENGINES, RUNTIMES, STFTS


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, `--engine`, `--runtime` and `--stft`."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="model made by `edge-se quantize` or `edge-se convert` (default: the built-in one)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="what runs the model (default: by the file's suffix); c runs a .so of `edge-se "
        "compile`, and a .tflite that carries weights for it",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="TFLite interpreter (default: the first of these that is installed)",
    )
    parser.add_argument(
        "--stft",
        choices=STFTS,
        help="STFT in float32, or in integers from int16 samples to int16 samples, which needs a "
        "full INT8 model (default: what the model says)",
    )
