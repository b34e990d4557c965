"""Builds the compiled core where a C compiler is; all else is in pyproject.toml.

Without a compiler, or with EDGE_SE_PURE=1, the wheel is `py3-none-any` and NumPy does the core's
work. With one it is `py3-none-PLATFORM`: the library is called through ctypes, so any Python will
do.
"""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))

from edge_se.core import LIBRARY, VARIANTS
from edge_se.core.build import BuildError, compile_core


class BuildWithCore(build_py):
    """Copies the packages, and compiles the core into them."""

    def run(self) -> None:
        """Build, with the core where it can be compiled."""
        super().run()
        root = Path(__file__).parent if self.editable_mode else Path(self.build_lib)
        folder = root / "edge_se" / "core"
        for name in (LIBRARY, *VARIANTS):
            (folder / name).unlink(missing_ok=True)  # of an earlier build
        if os.environ.get("EDGE_SE_PURE") == "1":
            return
        try:
            compile_core(folder)
        except BuildError as error:
            self.warn(f"the core is not compiled, NumPy will run instead: {error}")


class TaggedWheel(bdist_wheel):
    """Names the platform when the core was compiled."""

    def get_tag(self) -> tuple[str, str, str]:
        """Python, ABI and platform in the wheel's name."""
        library = Path(self.get_finalized_command("build_py").build_lib, "edge_se/core", LIBRARY)
        if not library.is_file():
            return super().get_tag()
        self.root_is_pure = False
        try:
            return "py3", "none", super().get_tag()[2]
        finally:
            self.root_is_pure = True


setup(cmdclass={"build_py": BuildWithCore, "bdist_wheel": TaggedWheel})
