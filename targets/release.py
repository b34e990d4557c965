"""Wheels of the whole project: `python -m targets.release FOLDER`.

One for each platform that boards have, with the core compiled for it, and a pure one for all others
(`py3-none-any`), in which NumPy does the core's work.
"""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from edge_se.errors import UserError, run_script
from targets.boards import load_platforms
from targets.cross import find_cross_compiler

ROOT = Path(__file__).parents[1]


def build_wheels(folder: Path) -> None:
    """Build all wheels into a folder.

    Raises:
        UserError: This is no checkout, there is no compiler for a platform, or a build failed.
    """
    if not (ROOT / "setup.py").is_file():
        raise UserError("wheels are built from a checkout of edge-se, which this is not")
    for platform in load_platforms().values():
        option = f"--config-settings=--build-option=--plat-name={platform.compiled_tag}"
        _build(folder, [option], {"CC": shlex.join(find_cross_compiler(platform))})
    _build(folder, [], {"EDGE_SE_PURE": "1"})


def _build(folder: Path, options: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--wheel-dir", str(folder), *options, str(ROOT)]
    if subprocess.run(command, env=os.environ | environment).returncode != 0:
        raise UserError("pip could not build a wheel; see its messages above")


def main() -> None:
    """Build the wheels that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m targets.release", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheels go")
    build_wheels(parser.parse_args().folder)


if __name__ == "__main__":
    run_script(main)
