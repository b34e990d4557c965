"""C for the platforms of boards, compiled on this machine."""

import hashlib
import importlib.util
import shutil
import subprocess
from functools import cache
from pathlib import Path

from edge_se.core.build import FOLDER as CORE
from edge_se.core.build import BuildError, compile_core
from edge_se.errors import UserError
from targets.boards import Platform
from targets.cache import cache_folder, made_once


def find_cross_compiler(platform: Platform) -> list[str]:
    """Command of a C compiler for a platform: zig's (the package ziglang), or Debian's gcc for it.

    zig's links against the platform's oldest C library, whatever this machine has.

    Raises:
        UserError: There is neither.
    """
    ziglang = importlib.util.find_spec("ziglang")
    if ziglang is not None and ziglang.origin is not None:
        zig = str(Path(ziglang.origin).with_name("zig"))
        command = [zig, "cc", "-target", f"{platform.target}.{platform.glibc}"]
        return [*command, f"-mcpu={platform.cpu.replace('-', '_')}"] if platform.cpu else command
    gcc = f"{platform.target}-gcc"
    if shutil.which(gcc) is None:
        raise UserError(
            f"compiling for {platform.key} needs a cross compiler; pip install ziglang, or "
            f"install {gcc}"
        )
    return [gcc, f"-mcpu={platform.cpu}"] if platform.cpu else [gcc]


def core_libraries(platform: Platform) -> dict[str, bytes]:
    """The compiled core (see `edge_se.core`) for a platform, by file name; always the same bytes.

    It is kept in the user's cache: compiling takes a minute.

    Raises:
        UserError: There is no compiler for it, or it failed.
    """
    return _compiled_core(platform.key, tuple(find_cross_compiler(platform)))


@cache
def _compiled_core(platform: str, compiler: tuple[str, ...]) -> dict[str, bytes]:
    def compile_into(folder: Path) -> None:
        try:
            compile_core(folder, compiler)
        except BuildError as error:
            raise UserError(f"the core can't be compiled for {platform} ({error})") from None

    folder = cache_folder("cores") / f"{platform}-{_fingerprint(compiler)}"
    return {path.name: path.read_bytes() for path in made_once(folder, compile_into).iterdir()}


def _fingerprint(compiler: tuple[str, ...]) -> str:
    """Another one for another core: of its sources, how they are compiled, and by what."""
    version = subprocess.run([*compiler, "--version"], capture_output=True).stdout
    known = hashlib.sha256("\0".join(compiler).encode() + version)
    for path in sorted(CORE.rglob("*.*")):
        if path.suffix in (".c", ".h", ".py"):
            known.update(path.name.encode() + path.read_bytes())
    return known.hexdigest()[:16]
