"""Generated C engines as shared libraries: the one built into the core, and a user's own.

`python -m targets.engines` writes the sources of the one built in anew.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edge_se.core.build import FOLDER, BuildError, compile_library
from edge_se.engines.generated import engine_manifest, prefix
from edge_se.errors import UserError
from edge_se.files import written_beside
from edge_se.model_file import attach_manifest
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.ptq.pipeline import Progress
from targets.c.generate import generate

BUILT_IN = FOLDER / "engine"
# Arithmetics of the engines built into the core.
BUILT_IN_ARITHMETICS = ("float", "fixed")


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def built_in_sources(
    arithmetics: Sequence[str] = BUILT_IN_ARITHMETICS, progress: Progress = silent
) -> dict[str, str]:
    """Sources of the core's engines, by file name, but for headers that the core has already."""
    checkpoint = load_checkpoint(default_checkpoint_path())
    files: dict[str, str] = {}
    for arithmetic in arithmetics:
        files |= generate(checkpoint, arithmetic, prefix(arithmetic), progress=progress)
    return {name: text for name, text in files.items() if not (FOLDER / name).is_file()}


def write_built_in() -> None:
    """Write the sources of the core's engines anew."""
    with ProgressBars() as progress:
        files = built_in_sources(progress=progress)
    BUILT_IN.mkdir(exist_ok=True)
    for name, text in files.items():
        with written_beside(BUILT_IN / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for other in BUILT_IN.iterdir():
        if other.name not in files:
            other.unlink()


def compile_engine(
    checkpoint: Checkpoint,
    arithmetic: str,
    compiler: Sequence[str],
    noisy: Sequence[np.ndarray] | None = None,
    progress: Progress = silent,
) -> bytes:
    """A shared library with an engine for a network, its manifest appended.

    Args:
        checkpoint: The network.
        arithmetic: One of `edge_se.engines.generated.ARITHMETICS`.
        compiler: Command of the C compiler.
        noisy: What "fixed" is calibrated with, float32 [n] each; None for the embedded clips.
        progress: Told how far the calibration is.

    Raises:
        UserError: No engine can be generated for this network, or the compiler failed.
    """
    files = generate(checkpoint, arithmetic, prefix(arithmetic), noisy, progress)
    manifest = engine_manifest(
        checkpoint.architecture,
        arithmetic,
        checkpoint.signal,
        checkpoint.describe(),
        {"edge-se": version("edge-se"), "compiler": Path(compiler[0]).name},
    )
    return attach_manifest(_compiled(files, f"{prefix(arithmetic)}.c", compiler), manifest)


def _compiled(files: Mapping[str, str], main: str, compiler: Sequence[str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        library = folder / "engine.so"
        try:
            compile_library(library, [folder / main], compiler)
        except BuildError as error:
            raise UserError(f"the engine can't be compiled ({error})") from None
        return library.read_bytes()


if __name__ == "__main__":
    try:
        write_built_in()
    except UserError as error:
        sys.exit(f"edge-se: error: {error}")
