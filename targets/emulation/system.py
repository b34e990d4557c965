"""What emulation needs from Debian: the emulator and a 64-bit Arm system with Python.

Everything is downloaded through apt with a state of its own, from the mirror that this machine's
apt is configured for, and unpacked into the user's cache. Nothing is installed; no root is needed.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_se.errors import UserError
from targets.boards import Board
from targets.cache import cache_folder, made_once

# Debian release by the Python version that it brings.
RELEASES = {"3.11": "bookworm", "3.13": "trixie"}
# Emulators by the machine they are.
EMULATORS = {"aarch64": "qemu-aarch64", "armv7l": "qemu-arm"}
_NEEDED_TOOLS = ("apt-get", "dpkg", "dpkg-deb")


@dataclass(frozen=True)
class Mirror:
    """Where apt gets Debian from, and the keys that sign it (a file, or None for apt's own)."""

    uri: str
    keys: str | None


def _output(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, env=_plain_environment())
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith("E:")]
        reason = lines[0].removeprefix("E: ") if lines else f"exit status {result.returncode}"
        raise UserError(f"{command[0]} failed ({reason.rstrip('.')}); check the connection")
    return result.stdout


def _plain_environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def find_mirror() -> Mirror:
    """The Debian mirror of this machine's apt configuration.

    Raises:
        UserError: This is no Debian-like system, or its apt knows no Debian mirror.
    """
    _require_tools()
    wanted = ["Identifier: Packages", "Origin: Debian"]
    fields = "$(LABEL)|$(REPO_URI)|$(SIGNED_BY)"
    text = _output(["apt-get", "indextargets", "--format", fields, *wanted])
    for line in text.splitlines():
        label, uri, keys = line.split("|")
        if label == "Debian":
            return Mirror(uri, keys if keys.startswith("/") else _debian_keys())
    raise UserError(
        "emulation needs a Debian mirror in apt's configuration, with its lists fetched; "
        "run apt-get update, or use a machine with Debian"
    )


def _require_tools() -> None:
    missing = [tool for tool in _NEEDED_TOOLS if shutil.which(tool) is None]
    if missing:
        raise UserError(f"emulation needs {' and '.join(missing)}; use a machine with Debian")


def _debian_keys() -> str | None:
    keys = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    return str(keys) if keys.is_file() else None


def machine_architecture() -> str:
    """Debian's name of this machine's architecture."""
    return _output(["dpkg", "--print-architecture"]).strip()


def download_packages(
    folder: Path, release: str, architecture: str, names: Sequence[str], alone: bool = False
) -> list[Path]:
    """Download Debian packages into a folder, for any architecture, with all they depend on.

    Args:
        folder: An empty one.
        release: Debian's name of it.
        architecture: Debian's name of it.
        names: Of the packages.
        alone: Without what they depend on.

    Raises:
        UserError: They can't be downloaded.
    """
    mirror = find_mirror()
    state = folder / ".apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    signed = f" signed-by={mirror.keys}" if mirror.keys else ""
    source = f"deb [arch={architecture}{signed}] {mirror.uri} {release} main\n"
    (state / "sources.list").write_text(source)
    settings = {
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-q"]
    apt += [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    _output([*apt, "update"])
    wanted = list(names)
    if not alone:
        plan = _output([*apt, "--simulate", "--no-install-recommends", "install", *names])
        wanted = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    result = subprocess.run([*apt, "download", *wanted], cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError(f"can't download packages of Debian {release}; check the connection")
    shutil.rmtree(state)
    return sorted(folder.glob("*.deb"))


def unpack_packages(folder: Path, release: str, architecture: str, names: Sequence[str]) -> None:
    """Unpack Debian packages and all they depend on into a folder.

    Raises:
        UserError: They can't be downloaded.
    """
    downloads = folder / ".packages"
    downloads.mkdir()
    for package in download_packages(downloads, release, architecture, names):
        _output(["dpkg-deb", "--extract", str(package), str(folder)])
    for merged in (folder / "usr").glob("lib*"):
        # Later releases have /lib as a link, which no package brings.
        if not (folder / merged.name).exists() and merged.name != "libexec":
            (folder / merged.name).symlink_to(Path("usr") / merged.name)
    shutil.rmtree(downloads)


def find_emulator(machine: str = "aarch64") -> list[str]:
    """Command that starts an emulator of `EMULATORS`: this machine's, or one unpacked in the cache.

    Only a dynamically linked one can load a plugin.

    Raises:
        UserError: It can't be had.
    """
    name = EMULATORS[machine]
    installed = shutil.which(name)
    if installed is not None and _loads_plugins([installed]):
        return [installed]
    folder = made_once(cache_folder("emulation") / "emulators", _unpack_emulators)
    # Its own loader and libraries, so that it does not matter what this machine has.
    loader = next(folder.glob("lib*/ld-linux*.so.*"), None)
    if loader is None or not (folder / "usr" / "bin" / name).is_file():
        raise _damaged(folder)
    libraries = ":".join(str(path) for path in sorted(folder.glob("**/*-linux-gnu")))
    return [str(loader), "--library-path", libraries, str(folder / "usr" / "bin" / name)]


def _unpack_emulators(folder: Path) -> None:
    _require_tools()
    unpack_packages(folder, "bookworm", machine_architecture(), ["qemu-user"])
    for other in (folder / "usr" / "bin").glob("qemu-*"):
        if other.name not in EMULATORS.values():
            other.unlink()  # the other architectures take a hundred megabytes


def _damaged(folder: Path) -> UserError:
    return UserError(f"{folder} is damaged; remove it, and it is downloaded again")


def _loads_plugins(emulator: Sequence[str]) -> bool:
    return "-plugin" in _output([*emulator, "--help"])


def arm_system(board: Board, python: str) -> Path:
    """Root folder of a 64-bit Arm Debian with that Python, which says it is that board.

    Raises:
        UserError: No Debian release brings that Python, or it can't be downloaded.
    """
    if board.core is None:
        raise UserError(f"{board.key} is no certain board, so it can't be emulated; choose another")
    if python not in RELEASES:
        choice = " or ".join(RELEASES)
        raise UserError(f"no Debian release with Python {python} can be emulated; use {choice}")
    release = RELEASES[python]
    packages = [f"python{python}-minimal", f"libpython{python}-stdlib", "libstdc++6"]
    folder = made_once(
        cache_folder("emulation") / f"{release}-arm64",
        lambda empty: unpack_packages(empty, release, "arm64", packages),
    )
    if not (folder / "usr" / "bin" / f"python{python}").is_file():
        raise _damaged(folder)
    return folder


def cpuinfo(board: Board) -> str:
    """What /proc/cpuinfo says on a board.

    Without such a file an emulator may show the PC's own, which LiteRT's libraries fail on.
    """
    core = board.core
    assert core is not None, f"{board.key} has no certain core"
    entry = (
        "BogoMIPS\t: 108.00\n"
        f"Features\t: {core.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {core.variant:#x}\n"
        f"CPU part\t: {core.part:#x}\n"
        f"CPU revision\t: {core.revision}\n\n"
    )
    cores = "".join(f"processor\t: {index}\n{entry}" for index in range(4))
    return f"{cores}Model\t\t: {board.name}\n"
