"""A board's folder with releases that are quick to make: their runtime gives back its input."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from targets.application import APPLICATION
from targets.board.installer.switching import switch

RUNTIME = "#!/bin/sh\nexec cat\n"
BROKEN_RUNTIME = "#!/bin/sh\necho no module named edge_se >&2\nexit 1\n"
UNIT_TEXT = "[Service]\nPrivateUsers=yes\nExecStart=/bin/sh -c 'true' edge-se @PYTHON@ @RELEASE@\n"
# What the installer tells of a board without releases.
BARE_BOARD: dict[str, Any] = {
    "machine": "aarch64",
    "bits": 64,
    "model": "Raspberry Pi 4 Model B Rev 1.4",
    "python": "3.11",
    "has_venv": True,
    "numpy": None,
    "free_bytes": 10**9,
    "leftover_bytes": 0,
    "root": "/home/pi/edge-se",
    "incoming": {},
    "current": None,
    "releases": [],
    "history": [],
}


def description(name: str) -> dict[str, Any]:
    """Content of a bundle.json."""
    return {
        "format_version": 3,
        "edge_se": "0.1.0",
        "platform": {"name": "x86-64", "machines": ["x86_64"], "bits": 64},
        "python": "3.11",
        "system_numpy": False,
        "model": {
            "name": name,
            "file": "model.tflite",
            "architecture": "gtcrn",
            "precision": "int8",
            "sha256": "0" * 64,
        },
        "installed_bytes": 1000,
    }


def bundle_files(name: str, installer: str = APPLICATION) -> dict[str, bytes]:
    """Files of a bundle without wheels, checksums included."""
    files = {
        "model.tflite": name.encode(),
        "bundle.json": json.dumps(description(name)).encode(),
        installer: b"",
        "edge-se.service": UNIT_TEXT.encode(),
    }
    return {**files, "SHA256SUMS": checksums(files)}


def pack(files: dict[str, bytes], *members: tarfile.TarInfo, tail: bytes = b"") -> bytes:
    """A bundle's archive of these files, and of members that no bundle has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"edge-se-bundle/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in members:
            tar.addfile(member)
    return gzip.compress(buffer.getvalue() + tail)


def checksums(files: dict[str, bytes]) -> bytes:
    """The list of checksums of files."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return "".join(lines).encode()


def write_bundle(folder: Path, name: str) -> Path:
    """An unpacked bundle."""
    folder.mkdir(parents=True)
    for file, data in bundle_files(name).items():
        (folder / file).write_bytes(data)
    return folder


def write_environment(folder: Path, runtime: str = RUNTIME) -> None:
    """What stands for a virtual environment."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(runtime)
    python.chmod(0o755)


def add_release(root: Path, number: int, installer: str = APPLICATION) -> Path:
    """Install a release and make it the current one; releases have to be numbered in order."""
    name = f"m{number}.tflite"
    files = bundle_files(name, installer)
    folder = root / "releases" / hashlib.sha256(files["SHA256SUMS"]).hexdigest()[:12]
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    write_environment(folder / "env")
    release = {
        "id": folder.name,
        "installed": f"2026-01-{number + 1:02}T00:00:00Z",
        "model": name,
        "edge_se": "0.1.0",
        "rtf": 0.1,
    }
    report = {"release": release, "benchmark": {"rtf": 0.1}, "throttling": None}
    (folder / "report.json").write_text(json.dumps(report))
    switch(root, folder.name)
    with (root / "history").open("a") as history:
        history.write(f"{folder.name}\n")
    return folder


def ids(root: Path) -> list[str]:
    """IDs of the releases that were added, oldest first."""
    reports = (root / "releases").glob("*/bundle.json")
    return [
        path.parent.name
        for path in sorted(reports, key=lambda path: json.loads(path.read_text())["model"]["name"])
    ]
