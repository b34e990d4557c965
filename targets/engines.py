"""Generated C engines as shared libraries: those in the compiled core, and a user's own.

`python -m targets.engines` writes the core's sources anew, and weights into the built-in GTCRN.
"""

import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_se.core.build import FOLDER, BuildError, compile_library
from edge_se.engines.generated import ARITHMETICS, engine_manifest, prefix
from edge_se.errors import UserError, run_script
from edge_se.files import write_whole
from edge_se.model_file import attach_manifest, find_model, read_model
from quant.c.engine import Engine
from quant.c.engines import make_engine
from quant.checkpoints import default_checkpoint_path
from quant.commands.progress import ProgressBars
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.registry import find_network
from quant.ptq.pipeline import Progress
from targets.c.generate import USUAL, Variant, frame_sources

SOURCES = FOLDER / "engine"
NOISE = 16000  # samples that stand for clips
# Further networks, whose frames alone are made, and in what the core computes them.
ONLY_FRAMES = {"ul_unas": tuple(ARITHMETICS)}


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def built_in_engines(progress: Progress = silent) -> list[Engine]:
    """Engines of the built-in GTCRN; their frames serve every checkpoint of it."""
    checkpoint = load_checkpoint(default_checkpoint_path())
    return [make_engine(checkpoint, arithmetic, None, progress) for arithmetic in ARITHMETICS]


def frame_engines() -> list[Engine]:
    """Engines of further networks; their frames are those of any checkpoint."""
    engines, noise = [], 0.1 * np.random.default_rng(0).standard_normal(NOISE).astype(np.float32)
    for name, arithmetics in ONLY_FRAMES.items():
        network = find_network(name)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            untrained = Checkpoint(network.build().eval(), network, "untrained", 64 * "0")
        engines += [make_engine(untrained, each, [noise], silent) for each in arithmetics]
    return engines


def core_sources(engine: Engine) -> dict[str, str]:
    """Sources of an engine in the core, by file name, but for headers that the core has already."""
    files = frame_sources(engine, prefix(engine.network, engine.arithmetic))
    return {name: text for name, text in files.items() if not (FOLDER / name).is_file()}


def write_built_in() -> None:
    """Write the core's engines anew, and weights into the built-in GTCRN."""
    with ProgressBars() as progress:
        engines = built_in_engines(progress)
    files = {
        name: text
        for engine in (*engines, *frame_engines())
        for name, text in core_sources(engine).items()
    }
    SOURCES.mkdir(exist_ok=True)
    for name, text in files.items():
        write_whole(SOURCES / name, text)
    for other in SOURCES.iterdir():
        if other.name not in files:
            other.unlink()
    path = find_model("gtcrn")
    data, manifest = read_model(path)
    # The file is not in 8 bits throughout: those of the int8 engine are another file's.
    weights = {e.arithmetic: e.blob for e in engines if e.arithmetic != "int8"}
    write_whole(path, attach_manifest(data, manifest, weights))


def library_of(
    engine: Engine,
    checkpoint: Mapping[str, Any],
    compiler: Sequence[str],
    variant: Variant = USUAL,
) -> bytes:
    """A shared library of an engine, manifest and weights appended.

    Args:
        engine: The engine.
        checkpoint: What its manifest says of the checkpoint.
        compiler: Command of the C compiler.
        variant: Of the frame.

    Raises:
        UserError: The compiler failed.
    """
    name = prefix(engine.network, engine.arithmetic)
    manifest = engine_manifest(
        engine.network,
        engine.arithmetic,
        engine.signal,
        checkpoint,
        {"edge-se": version("edge-se"), "compiler": Path(compiler[0]).name},
    )
    library = compiled(frame_sources(engine, name, variant), [f"{name}.c"], compiler)
    return attach_manifest(library, manifest, {engine.arithmetic: engine.blob})


def compiled(
    files: Mapping[str, str],
    mains: Sequence[str],
    compiler: Sequence[str],
    options: Sequence[str] = (),
) -> bytes:
    """A shared library of C files.

    Args:
        files: Their text by name, what they include among them.
        mains: Which of them to compile.
        compiler: Command of the C compiler.
        options: More of its options.

    Raises:
        UserError: The compiler failed.
    """
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        library = folder / "engine.so"
        try:
            compile_library(library, [folder / main for main in mains], compiler, options)
        except BuildError as error:
            raise UserError(f"the engine can't be compiled ({error})") from None
        return library.read_bytes()


if __name__ == "__main__":
    run_script(write_built_in)
