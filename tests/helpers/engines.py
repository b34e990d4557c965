"""The built-in network as a shared library."""

from collections.abc import Sequence

from quant.c.engines import make_engine
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint
from targets.engines import library_of, silent


def float_library(compiler: Sequence[str]) -> bytes:
    """The built-in GTCRN in float for a compiler's machine, manifest and weights appended."""
    checkpoint = load_checkpoint(default_checkpoint_path())
    engine = make_engine(checkpoint, "float", None, silent)
    return library_of(engine, checkpoint.describe(), compiler)
