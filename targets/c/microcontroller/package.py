"""A folder of sources for a microcontroller: an engine behind a header that stays as it is.

The files in `package/` are the same for every network; beside them are the engine, its weights, and
a test vector that this machine's compiler and the same sources gave.
"""

import ctypes
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from edge_se.core.build import BuildError, find_compiler
from edge_se.errors import UserError
from edge_se.files import folder_written_beside, make_folder, require_folder
from quant.c.engine import Engine
from quant.c.source import WIDTH
from quant.ptq.proof import speech
from targets.c.generate import Variant, frame_sources, weights_sources
from targets.c.microcontroller import OPTIONS, Core
from targets.c.microcontroller.linking import COMPILER, Memory, find_tool, measure, memory_map
from targets.engines import compiled

TEMPLATES = Path(__file__).parent / "package"
ENGINE = "engine"
ARITHMETICS = ("fixed", "int8")
MEMORY_MAP = "MEMORY.md"
HEADER = "include/edge_se.h"
VECTOR_HOPS = 16


def require_tools(out: Path) -> None:
    """Raise UserError, before minutes of calibration, where no package could be written.

    Args:
        out: The folder of the package.
    """
    require_folder(out)
    find_tool(COMPILER)
    _host_compiler()


def write_package(
    out: Path, engine: Engine, core: Core, source: str, restores: bool = False
) -> Memory:
    """Write a package into a folder, whole or not at all; what it takes.

    Args:
        out: The folder, which is replaced if it holds a package.
        engine: What the package runs.
        core: What it is for.
        source: What the engine was made from, for comments.
        restores: Whether states are restored after a knock, which takes as much RAM again.

    Raises:
        UserError: A compiler is missing or failed, or something else is in the folder.
    """
    with (
        folder_written_beside(out, HEADER) as folder,
        tempfile.TemporaryDirectory(prefix="edge-se-") as work,
    ):
        for name, text in package_files(engine, core, source, restores).items():
            make_folder((folder / name).parent)
            (folder / name).write_text(text, encoding="utf-8")
        memory = measure(folder, core, Path(work))
        text = memory_map(memory, core, engine.name, source)
        (folder / MEMORY_MAP).write_text(text, encoding="utf-8")
    return memory


def package_files(
    engine: Engine, core: Core, source: str, restores: bool = False
) -> dict[str, str]:
    """A package's files by path, but for the memory map.

    Args:
        engine: What it runs.
        core: What it is for.
        source: What the engine was made from, for comments.
        restores: Whether states are restored after a knock, which takes as much RAM again.

    Raises:
        UserError: This machine's C compiler failed.
    """
    machine = core.machine
    names = {
        "name": core.name,
        "flags": core.flags,
        "options": " ".join(OPTIONS),
        "machine": machine.name,
        "code": f"0x{machine.code:08x}",
        "data": f"0x{machine.data:08x}",
    }
    files = {
        str(path.relative_to(TEMPLATES)): path.read_text(encoding="utf-8")
        for path in sorted(TEMPLATES.rglob("*"))
        if path.is_file()
    }
    for name, text in files.items():
        if not name.endswith((".c", ".h")):
            files[name] = Template(text).substitute(names)
    variant = Variant(lean=True, by_output=core.has_vectors, restores=restores)
    sources = frame_sources(engine, ENGINE, variant)
    sources |= weights_sources(engine, source, ENGINE, variant)
    files |= {f"src/{name}": text for name, text in sources.items()}
    return files | {"test/self_test_vector.h": _vector(engine, files)}


def _vector(engine: Engine, files: Mapping[str, str]) -> str:
    heard = speech(engine.signal.sample_rate)
    hops = np.rint(heard * 32767).astype(np.int16)[: len(heard) // engine.signal.hop * 256]
    loudness = np.square(hops.reshape(-1, 256), dtype=np.float64).sum(axis=1)
    # The loudest stretch: the network has something to do in each of its hops.
    begin = int(np.convolve(loudness, np.ones(VECTOR_HOPS), "valid").argmax())
    given = hops.reshape(-1, 256)[begin : begin + VECTOR_HOPS]
    result = run_on_host(files, given)
    return (
        f"/* Written by edge-se compile from embedded speech; do not edit. */\n\n"
        f"#define SELF_TEST_HOPS {VECTOR_HOPS}\n\n"
        f"static const int16_t self_test_input[SELF_TEST_HOPS][EDGE_SE_HOP] = {_table(given)};\n\n"
        f"static const int16_t self_test_output[SELF_TEST_HOPS][EDGE_SE_HOP] = {_table(result)};\n"
    )


def _table(hops: NDArray[np.int16]) -> str:
    rows = [
        "{" + textwrap.fill(", ".join(map(str, hop)), WIDTH).replace(", ", ",") + "}"
        for hop in hops
    ]
    return "{\n" + ",\n".join(rows) + "}"


def run_on_host(files: Mapping[str, str], hops: NDArray[np.int16]) -> NDArray[np.int16]:
    """What a package's sources, compiled for this machine, make of hops (int16 [n, 256]).

    Raises:
        UserError: There is no C compiler here, or it failed.
    """
    flat = {Path(name).name: text for name, text in files.items() if name.endswith((".c", ".h"))}
    mains = ["edge_se.c", "engine.c", "engine_weights.c"]
    return _process(compiled(flat, mains, _host_compiler()), hops)


def _host_compiler() -> list[str]:
    try:
        return find_compiler()
    except BuildError as error:
        raise UserError(f"{error}, which a self-test is made with; install gcc") from None


def _process(content: bytes, hops: NDArray[np.int16]) -> NDArray[np.int16]:
    with tempfile.NamedTemporaryFile(prefix="edge-se-", suffix=".so") as file:
        file.write(content)
        file.flush()
        library = ctypes.CDLL(file.name)
    library.edge_se_open.restype = ctypes.c_void_p
    library.edge_se_process.argtypes = [ctypes.c_void_p] * 3
    stream = library.edge_se_open()
    assert stream, "weights that were just made are refused"
    result = np.ascontiguousarray(hops).copy()
    for hop in result:
        library.edge_se_process(stream, hop.ctypes.data, hop.ctypes.data)
    return result
