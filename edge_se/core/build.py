"""Compile the core: `python -m edge_se.core.build` puts it beside this file.

Also used while building wheels, and for other platforms with a cross compiler, such as
`["python", "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu"]`.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_se.core import LIBRARY, VARIANTS

FOLDER = Path(__file__).parent
# Generated engines want multiplications and additions fused, and no record of errors in math.
FLAGS = (
    *("-std=c99", "-O3", "-s", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),  # nobody unwinds through them
)
# Pages of its own for what is read-only after loading, a few addresses, would be mostly empty.
LINKING = ("-Wl,-z,norelro",)
# The same for code and tables, and code that runs constructors, of which there are none. zig's
# linker does without, and refuses to be told.
LINKING_WITHOUT_ZIG = ("-Wl,-z,noseparate-code", "-nostartfiles")
# The option that says so on Arm, -mcpu, means something lesser on x86.
THIS_PROCESSOR = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"


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


def sources() -> list[Path]:
    """The core's, and those of the generated engines."""
    return [*sorted(FOLDER.glob("*.c")), *sorted(FOLDER.glob("engine/*.c"))]


def compile_core(folder: Path, compiler: Sequence[str] | None = None) -> list[Path]:
    """Compile the core into a folder, and give the paths of its libraries.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    command = list(compiler or find_compiler())
    libraries: dict[str, tuple[str, ...]] = {LIBRARY: ()}
    target = _target(command)
    for name, (options, _, machine) in VARIANTS.items():
        if target.startswith(machine):
            # zig spells processors with underscores.
            libraries[name] = tuple(
                option.replace("cortex-", "cortex_") if _is_zig(command) else option
                for option in options
            )
    for name, options in libraries.items():
        compile_library(folder / name, sources(), command, [*options, "-I", str(FOLDER)])
    return [folder / name for name in libraries]


def compile_library(
    library: Path, files: Sequence[Path], command: Sequence[str], options: Sequence[str] = ()
) -> None:
    """Compile C files into a shared library, whole or not at all.

    Raises:
        BuildError: The compiler failed.
    """
    temporary = library.with_name(f".{os.getpid()}{library.name}")
    flags = [*FLAGS, *_linking(command), *options]
    try:
        arguments = [*flags, *map(str, files), "-lm", "-o", str(temporary)]
        result = subprocess.run([*command, *arguments], capture_output=True, text=True)
        if result.returncode:
            raise BuildError(f"{shlex.join(command)} failed: {result.stderr.strip()}")
        temporary.replace(library)
    except OSError as error:
        raise BuildError(f"{shlex.join(command)} can't be run: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _linking(command: Sequence[str]) -> tuple[str, ...]:
    """Options for the linker of a compiler's command, where it is one for ELF."""
    if "linux" not in _target(command):
        return ()
    return LINKING if _is_zig(command) else (*LINKING, *LINKING_WITHOUT_ZIG)


def _is_zig(command: Sequence[str]) -> bool:
    return "zig" in (Path(word).name for word in command) or "ziglang" in command


def _target(command: Sequence[str]) -> str:
    """What a compiler says that it compiles for."""
    try:
        asked = subprocess.run([*command, "-dumpmachine"], capture_output=True, text=True)
    except OSError as error:
        raise BuildError(f"{shlex.join(command)} can't be run: {error}") from error
    return asked.stdout


if __name__ == "__main__":
    try:
        print(*compile_core(FOLDER), sep="\n")
    except BuildError as error:
        sys.exit(f"edge-se: error: {error}")
