"""C for the platforms of boards, compiled on this machine."""

import importlib.util
import shutil
import tempfile
from functools import cache
from pathlib import Path

from edge_se.core.build import BuildError, compile_core
from edge_se.errors import UserError
from targets.boards import Platform


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

    Raises:
        UserError: There is no compiler for it, or it failed.
    """
    return _compiled_core(platform.key, tuple(find_cross_compiler(platform)))


@cache
def _compiled_core(platform: str, compiler: tuple[str, ...]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        try:
            return {path.name: path.read_bytes() for path in compile_core(Path(folder), compiler)}
        except BuildError as error:
            raise UserError(f"the core can't be compiled for {platform} ({error})") from None
