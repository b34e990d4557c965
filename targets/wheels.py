"""Wheels: those of a board's runtime from the user's package index, and our own runtime's."""

import base64
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.metadata import metadata, requires, version
from pathlib import Path

import edge_se
from edge_se.cli import GROUP
from edge_se.errors import UserError
from targets.boards import Platform
from targets.cache import cache_folder, folder_beside
from targets.cross import core_libraries

INSTALLER = "pip==25.3"
# Libraries compiled for this machine stay here, and a board needs no sources of others.
_PACKAGED = (".py", ".tflite", ".typed")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def fetch_wheels(pins: Sequence[str], platform: Platform, python: str) -> list[Path]:
    """Wheels of pinned requirements for a platform and Python, kept in the user's cache.

    They come from the package index that pip is configured for.

    Args:
        pins: Requirements as "numpy==2.4.6".
        platform: What they have to run on.
        python: Such as "3.11".

    Returns:
        One path per requirement, sorted by name.

    Raises:
        UserError: pip could not get one of them.
    """
    if not pins:
        return []
    key = hashlib.sha256(" ".join([platform.key, python, *pins]).encode()).hexdigest()[:12]
    folder = cache_folder("wheels") / f"{platform.key}-{python}-{key}"
    if not folder.is_dir():
        with folder_beside(folder) as temporary:
            _download(pins, platform, python, temporary)
    return sorted(folder.glob("*.whl"))


def _download(pins: Sequence[str], platform: Platform, python: str, folder: Path) -> None:
    tags = [argument for tag in platform.wheel_tags for argument in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    result = subprocess.run(
        [*command, *tags, "--dest", str(folder), *pins], capture_output=True, text=True
    )
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else "pip failed"
        raise UserError(
            f"can't download {', '.join(pins)} for {platform.key} and Python {python} "
            f"({reason.rstrip('.')}); check the connection and pip's package index"
        )


def runtime_wheel(platform: Platform) -> tuple[str, bytes]:
    """File name and content of a wheel that holds this very `edge_se`, without the host's rooms.

    The core in it is compiled for the platform. The content depends on sources and compiler alone,
    byte for byte: entries are stored, sorted and have a fixed time.

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
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, data in [*sorted(files.items()), (f"{information}/RECORD", record.encode())]:
            entry = zipfile.ZipInfo(path, _ZIP_TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return f"{name}-{release}-{tag}.whl", buffer.getvalue()


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
