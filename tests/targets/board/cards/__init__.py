"""Sound cards whose samples move with the clock: a module for the kernel of a board."""

import re
import shutil
import subprocess
from pathlib import Path

from targets.cache import cache_folder, made_once
from targets.emulation.system import download_packages, machine_architecture
from tests.targets.board.disk import ARCHITECTURE, RELEASE, output

SOURCES = [Path(__file__).parent / name for name in ("loop_cards.c", "Kbuild")]


def made_module(kernel: str) -> bytes:
    """`loop_cards.ko` for a kernel of Debian's, as `6.1.0-50-arm64`; needs a C cross compiler."""
    folder = made_once(cache_folder("board") / f"headers-{kernel}", lambda at: _unpack(at, kernel))
    headers = folder / "usr" / "src"
    build = folder / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    for source in SOURCES:
        shutil.copy(source, build)
    variables = ("DEB_HOST_GNU_TYPE=aarch64-linux-gnu", "DEB_BUILD_ARCH=", "DEB_HOST_ARCH=arm64")
    # It includes the rest by the path that the packages would be installed at.
    makefile = headers / f"linux-headers-{kernel}" / "Makefile"
    makefile.write_text(f"include {headers / _common(kernel)}/Makefile\n")
    output("make", "-s", "-C", makefile.parent, f"M={build}", *variables, "modules")
    return (build / "loop_cards.ko").read_bytes()


def _common(kernel: str) -> str:
    return f"linux-headers-{kernel.rsplit('-', 1)[0]}-common"


def _unpack(folder: Path, kernel: str) -> None:
    """Headers of the board's kernel, and what builds modules on this machine."""
    version = re.match(r"\d+\.\d+", kernel)
    assert version is not None, f"{kernel} is no kernel of Debian's"
    needed = {
        ARCHITECTURE: [f"linux-headers-{kernel}", _common(kernel)],
        machine_architecture(): [f"linux-kbuild-{version[0]}"],
    }
    for architecture, names in needed.items():
        downloads = folder / architecture
        downloads.mkdir()
        for package in download_packages(downloads, RELEASE, architecture, names, alone=True):
            subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
        shutil.rmtree(downloads)
