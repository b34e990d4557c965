"""Bundles: everything that a board without internet needs to run a model, in one archive.

An archive holds one folder `edge-se-bundle` with the model, the wheels, the installer, a systemd
unit, a description and checksums of them all. It depends on its contents alone, byte for byte.
"""

import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se.core import LIBRARY
from edge_se.engines import ENGINES
from edge_se.engines.generated import load_the_same
from edge_se.errors import UserError
from edge_se.files import require_writable, write_whole
from edge_se.manifest import Manifest, require_frames
from edge_se.model_file import manifest_of, read_model
from targets.application import APPLICATION, application
from targets.archives import stored_gzip
from targets.board.installer.archive import read_archive
from targets.board.installer.bundle import (
    BUNDLE,
    BUNDLE_LIMIT,
    CHECKSUMS,
    DESCRIPTION,
    DESCRIPTION_SHAPE,
    UNIT,
    check_listed,
    parse_checksums,
)
from targets.board.installer.errors import RefusedError
from targets.board.installer.shapes import parse_json
from targets.boards import Board, Platform, required_wheels
from targets.cross import core_libraries
from targets.wheels import INSTALLER, fetch_wheels, runtime_wheel

FORMAT_VERSION = 3
_BOARD_FILES = Path(__file__).parent / "board"
BUNDLED = (ENGINES["tflite"], ENGINES["c"])  # what models' names end in
# Byte-compiled modules lie beside the sources once a wheel is installed, and are about as large.
_COMPILED = 2.1


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        id: Of the release that it makes, known before it is on the board.
        description: Content of its bundle.json.
        data: The archive, a .tar.gz.
    """

    id: str
    description: dict[str, Any]
    data: bytes


def build_bundle(board: Board, python: str, model: Path) -> Bundle:
    """Build a bundle for a board.

    Args:
        board: What it is for.
        python: Version there, such as "3.11".
        model: A .tflite, or a .so of `edge-se compile`; what runs in C needs no TFLite runtime.

    Raises:
        UserError: The model is none for this board, a wheel can't be had, or there is no compiler
            for the board.
    """
    pins, runtime = required_wheels(board, python), board.platform.runtime.interpreter
    data, manifest = _read(model, board.platform)
    if model.suffix == ENGINES["c"] or load_the_same(model) is not None:
        pins, runtime = tuple(pin for pin in pins if pin.startswith("numpy==")), "none"
    wheels = {path.name: path.read_bytes() for path in fetch_wheels(pins, board.platform, python)}
    pip = fetch_wheels([INSTALLER], board.platform, python)
    wheels.update({path.name: path.read_bytes() for path in pip})
    wheels.update([runtime_wheel(board.platform)])
    files = {
        UNIT: (_BOARD_FILES / UNIT).read_bytes(),
        APPLICATION: application(),
        f"model{model.suffix}": data,
        **{f"wheels/{name}": content for name, content in wheels.items()},
    }
    description = {
        "format_version": FORMAT_VERSION,
        "edge_se": _version_of_runtime(wheels),
        "board": board.key,
        "platform": {
            "name": board.platform.key,
            "machines": list(board.platform.machines),
            "bits": board.platform.bits,
        },
        "python": python,
        "runtime": runtime,
        "system_numpy": board.platform.runtime.uses_system_packages,
        "model": {
            "name": model.name,
            "file": f"model{model.suffix}",
            "architecture": manifest.architecture,
            "precision": manifest.precision,
            "sha256": hashlib.sha256(data).hexdigest(),
        },
        "installed_bytes": len(data) + sum(map(_installed_size, wheels.values())),
    }
    files[DESCRIPTION] = (json.dumps(description, indent=2) + "\n").encode()
    files[CHECKSUMS] = _checksums(files)
    return _bundle(description, files)


def _read(model: Path, platform: Platform) -> tuple[bytes, Manifest]:
    """A model's bytes and its manifest; UserError where it does not run on the platform."""
    data, manifest = read_model(model)
    require_frames(manifest, model)
    if model.suffix not in BUNDLED:
        raise UserError(
            f"{model} can't be bundled: boards run a {' or a '.join(BUNDLED)}, so make one with "
            "edge-se quantize or edge-se compile"
        )
    if model.suffix != ENGINES["c"]:
        return data, manifest
    core = core_libraries(platform)[LIBRARY]
    # The ELF header's class (32 or 64 bit) and machine.
    if (data[4], data[18:20]) != (core[4], core[18:20]):
        raise UserError(
            f"{model} is compiled for another machine; make it with edge-se compile for a board of "
            f"the platform {platform.key}"
        )
    return data, manifest


def read_bundle(path: Path) -> Bundle:
    """Read a bundle that `edge-se bundle` wrote.

    Nothing in it is parsed before all of it has been compared with its checksums.

    Raises:
        UserError: There is no such file, it is no whole bundle, or its model is none.
    """
    if not path.is_file():
        raise UserError(f"there is no bundle {path}")
    if path.stat().st_size > BUNDLE_LIMIT:
        raise UserError(f"{path} is larger than any bundle; make it again with edge-se bundle")
    data = path.read_bytes()
    try:
        files = {name: b"".join(content) for name, content in read_archive(io.BytesIO(data))}
        _verify(files)
        description = parse_json(files[DESCRIPTION], DESCRIPTION, DESCRIPTION_SHAPE)
    except RefusedError as error:
        raise UserError(
            f"{path} is no whole bundle ({error}); make it again with edge-se bundle"
        ) from None
    if description["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} was made by another edge-se; make it again with this one")
    _verify_model(description["model"]["file"], files, path)
    return _bundle(description, files, data)


def _verify(files: dict[str, bytes]) -> None:
    """Compare a bundle's files with their checksums, as the installer does on the board."""
    if CHECKSUMS not in files:
        raise RefusedError(f"{CHECKSUMS} is missing")
    sums = parse_checksums(files[CHECKSUMS])
    check_listed(files, sums)
    for name, expected in sums.items():
        if name not in files:
            raise RefusedError(f"{name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise RefusedError(f"{name} is damaged")


def _verify_model(name: str, files: dict[str, bytes], path: Path) -> None:
    """Raise UserError where a bundle's model is none."""
    if name not in files:
        raise UserError(f"{path} holds no {name}; make it again with edge-se bundle")
    suffix = Path(name).suffix
    if suffix not in ENGINES.values():
        raise UserError(
            f"{name} in the bundle {path} is no model; make it again with edge-se bundle"
        )
    manifest_of(files[name], f"{name} in the bundle {path}", suffix)


def require_bundle_name(path: Path) -> None:
    """Raise UserError where no bundle can be written."""
    if not path.name.endswith(".tar.gz"):
        raise UserError(f"a bundle's name ends in .tar.gz, which {path} does not")
    require_writable(path)


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle, whole or not at all."""
    require_bundle_name(path)
    write_whole(path, bundle.data)


def _bundle(
    description: dict[str, Any], files: dict[str, bytes], data: bytes | None = None
) -> Bundle:
    return Bundle(
        id=hashlib.sha256(files[CHECKSUMS]).hexdigest()[:12],
        description=description,
        data=_archive(files) if data is None else data,
    )


def _version_of_runtime(wheels: dict[str, bytes]) -> str:
    return next(name.split("-")[1] for name in wheels if name.startswith("edge_se-"))


def _installed_size(wheel: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        sizes = (
            entry.file_size * (_COMPILED if entry.filename.endswith(".py") else 1)
            for entry in archive.infolist()
        )
        return round(sum(sizes))


def _checksums(files: dict[str, bytes]) -> bytes:
    """What sha256sum would print for all files but the checksums themselves."""
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
        if name != CHECKSUMS
    ]
    return "".join(lines).encode()


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(f"{BUNDLE}/{name}")
            member.size = len(content)
            member.mode = 0o755 if name == APPLICATION else 0o644
            archive.addfile(member, io.BytesIO(content))
    return stored_gzip(buffer.getvalue())
