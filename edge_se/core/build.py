"""Compile the core: `python -m edge_se.core.build` puts it beside this file.

Also used while building wheels, and for other platforms with a cross compiler, such as
`["python", "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu"]`.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_se.core import LIBRARY

SOURCES = tuple(Path(__file__).parent / name for name in ("fixed.c", "float.c"))
FLAGS = ("-std=c99", "-O3", "-s", "-shared", "-fPIC")


class BuildError(Exception):
    """There is no compiler, or it failed; the message says which."""


def find_compiler() -> list[str]:
    """The C compiler's command: $CC, or the first of cc, gcc and clang.

    Raises:
        BuildError: There is none.
    """
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    found = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if found is None:
        raise BuildError("there is no C compiler (cc, gcc, clang or $CC)")
    return [found]


def compile_core(folder: Path, compiler: Sequence[str] | None = None) -> Path:
    """Compile the core into a folder, whole or not at all, and give the library's path.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    command = list(compiler or find_compiler())
    library = folder / LIBRARY
    temporary = folder / f".{os.getpid()}{LIBRARY}"
    try:
        arguments = [*FLAGS, *map(str, SOURCES), "-o", str(temporary)]
        result = subprocess.run([*command, *arguments], capture_output=True, text=True)
        if result.returncode:
            raise BuildError(f"{shlex.join(command)} failed: {result.stderr.strip()}")
        temporary.replace(library)
    except OSError as error:
        raise BuildError(f"{shlex.join(command)} can't be run: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return library


if __name__ == "__main__":
    try:
        print(compile_core(Path(__file__).parent))
    except BuildError as error:
        sys.exit(f"edge-se: error: {error}")
