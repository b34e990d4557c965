"""Wheels: those of a board's runtime from the user's package index, and our own runtime's."""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import metadata, requires, version
from pathlib import Path
from urllib.parse import unquote

import edge_se
from edge_se.cli import GROUP
from edge_se.errors import UserError, run_script
from edge_se.files import write_whole
from targets.archives import stored_zip
from targets.boards import Platform, load_platforms
from targets.cache import cache_folder
from targets.cross import core_libraries

INSTALLER = "pip==25.3"
CHECKSUMS_FILE = Path(__file__).parent / "wheels.sha256"
# Libraries compiled for this machine stay here, and a board needs no sources of others.
_PACKAGED = (".py", ".tflite", ".typed")


def fetch_wheels(pins: Sequence[str], platform: Platform, python: str) -> list[Path]:
    """Wheels of pinned requirements for a platform and Python, kept in the user's cache.

    They come from the package index that pip is configured for, and are those that
    `wheels.sha256` lists: each is compared with its checksum whenever it is asked for.

    Args:
        pins: Requirements as "numpy==2.4.6".
        platform: What they have to run on.
        python: Such as "3.11".

    Returns:
        One path per requirement, sorted by name.

    Raises:
        UserError: pip could not get one of them.
    """
    folder = cache_folder("wheels")
    wanted = {folder / name: digest for name, digest in locked(pins, platform, python).items()}
    missing = {path.name: digest for path, digest in wanted.items() if not _is(path, digest)}
    if missing:
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
            _download(pins, missing, platform, python, Path(temporary))
            for name, digest in missing.items():
                arrived = Path(temporary, name)
                if not _is(arrived, digest):
                    raise UserError(f"pip has downloaded another {name} than edge-se was made with")
                arrived.replace(folder / name)  # whole, also for others who fetch it now
    return sorted(wanted)


def locked(pins: Sequence[str], platform: Platform, python: str) -> dict[str, str]:
    """SHA-256 by file name of the wheels that pinned requirements stand for.

    Raises:
        UserError: `wheels.sha256` lists none for the platform and Python.
    """
    lines = CHECKSUMS_FILE.read_text(encoding="utf-8").splitlines()
    listed = [line.split("  ") for line in lines if not line.startswith("#")]
    found = {}
    for pin in pins:
        name, _, release = pin.partition("==")
        for digest, file in listed:
            package, version_, tag, _, platforms = file.removesuffix(".whl").split("-")
            if (
                (package, version_) == (name.replace("-", "_"), release)
                and _runs(tag, python)
                and {"any", *platform.wheel_tags} & set(platforms.split("."))
            ):
                found[file] = digest
                break
        else:
            raise UserError(
                f"edge-se knows no wheel of {pin} for {platform.key} and Python {python}; "
                "write its checksum with python -m targets.wheels"
            )
    return found


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _runs(tag: str, python: str) -> bool:
    """Whether a wheel is for a Python."""
    return bool({"py3", "cp" + python.replace(".", "")} & set(tag.split(".")))


def _download(
    pins: Sequence[str], wanted: Mapping[str, str], platform: Platform, python: str, folder: Path
) -> None:
    """Have pip download these files, each of which has to have its checksum."""
    requirements = folder / "requirements.txt"
    requirements.write_text(
        "".join(
            f"{pin} --hash=sha256:{digest}\n"
            for pin in pins
            for name, digest in wanted.items()
            if name.startswith(pin.replace("-", "_").replace("==", "-") + "-")
        )
    )
    options = ["--require-hashes", f"--dest={folder}", f"--requirement={requirements}"]
    _pip("download", platform, python, options, ", ".join(wanted))


def _pip(action: str, platform: Platform, python: str, options: Sequence[str], what: str) -> None:
    tags = [argument for tag in platform.wheel_tags for argument in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", action, "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    result = subprocess.run(
        [*command, *tags, *options], capture_output=True, text=True, errors="replace"
    )
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[0].removeprefix("ERROR: ") if lines else "pip failed"
        raise UserError(
            f"can't download {what} for {platform.key} and Python {python} "
            f"({reason.rstrip('.')}); check the connection and pip's package index"
        )


def look_up_checksums() -> str:
    """Text of `wheels.sha256`: what the package index says of the wheels that boards may need.

    Raises:
        UserError: pip does not find one of them.
    """
    found = {}
    for platform in load_platforms().values():
        for python, pins in platform.runtime.wheels.items():
            with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
                report = Path(folder) / "report.json"
                options = ["--dry-run", "--ignore-installed", f"--report={report}"]
                options += [f"--target={folder}", *pins, INSTALLER]
                _pip("install", platform, python, options, ", ".join(pins))
                for entry in json.loads(report.read_text(encoding="utf-8"))["install"]:
                    source = entry["download_info"]
                    name = unquote(source["url"].rpartition("/")[2])
                    found[name] = source["archive_info"]["hashes"]["sha256"]
    lines = [f"{digest}  {name}\n" for name, digest in sorted(found.items())]
    return "".join(
        ["# Written by python -m targets.wheels, after a change of boards.toml.\n", *lines]
    )


def runtime_wheel(platform: Platform) -> tuple[str, bytes]:
    """File name and content of a wheel that holds this very `edge_se`, without the host's rooms.

    The core in it is compiled for the platform. The content depends on sources and compiler alone,
    byte for byte.

    Raises:
        UserError: There is no compiler for the platform.
    """
    name, release, tag = "edge_se", version("edge-se"), f"py3-none-{platform.compiled_tag}"
    information = f"{name}-{release}.dist-info"
    package = Path(edge_se.__file__).parent
    files = {
        f"{name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.suffix in _PACKAGED
    }
    libraries = core_libraries(platform)
    files |= {f"{name}/core/{library}": content for library, content in libraries.items()}
    files[f"{information}/METADATA"] = _metadata_text(release).encode()
    files[f"{information}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: edge-se\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    files[f"{information}/entry_points.txt"] = _entry_points_text(package).encode()
    record = "".join(_record_line(path, data) for path, data in sorted(files.items()))
    record += f"{information}/RECORD,,\n"
    data = stored_zip({**dict(sorted(files.items())), f"{information}/RECORD": record.encode()})
    return f"{name}-{release}-{tag}.whl", data


def _metadata_text(release: str) -> str:
    lines = ["Metadata-Version: 2.1", "Name: edge-se", f"Version: {release}"]
    lines.append(f"Summary: {metadata('edge-se')['Summary']}")
    lines += [f"Requires-Dist: {need}" for need in requires("edge-se") or [] if "extra" not in need]
    return "\n".join(lines) + "\n"


def _entry_points_text(package: Path) -> str:
    modules = sorted(path.stem for path in (package / "commands").glob("[!_]*.py"))
    commands = [f"{name} = edge_se.commands.{name}" for name in modules]
    scripts = ["[console_scripts]", "edge-se = edge_se.cli:main", ""]
    return "\n".join([*scripts, f"[{GROUP}]", *commands]) + "\n"


def _record_line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


if __name__ == "__main__":
    run_script(lambda: write_whole(CHECKSUMS_FILE, look_up_checksums()))
