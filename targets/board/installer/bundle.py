"""What a bundle holds, all of it compared with its list of checksums before it is used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from .errors import RefusedError, shortened
from .files import TEXT_LIMIT, require_file, sha256
from .shapes import is_count, is_flag, is_text, is_version, matches

BUNDLE = "edge-se-bundle"
CHECKSUMS, DESCRIPTION, UNIT = "SHA256SUMS", "bundle.json", "edge-se.service"
# What a bundle may hold: files beside each other, and wheels in their folder.
BUNDLE_NAME = re.compile(r"(?:wheels/)?[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}\Z")
CHECKSUM = re.compile(r"([0-9a-f]{64})  (.+)\Z")
BUNDLE_LIMIT = 1_000_000_000
DESCRIPTION_SHAPE = {
    "format_version": is_count,
    "edge_se": is_text,
    "platform": {"name": is_text, "machines": [is_text], "bits": is_count},
    "python": is_version,
    "system_numpy": is_flag,
    "model": {
        "name": is_text,
        "file": matches(r"model\.(tflite|so)"),
        "architecture": is_text,
        "precision": is_text,
        "sha256": is_text,
    },
    "installed_bytes": is_count,
}


def release_id(folder: Path) -> str:
    """ID of the release that a bundle makes, by the checksums in it."""
    return sha256(folder / CHECKSUMS)[:12]


def read_checksums(folder: Path) -> dict[str, str]:
    """The checksums of a bundle or a release, by name."""
    require_file(folder / CHECKSUMS, TEXT_LIMIT)
    return parse_checksums((folder / CHECKSUMS).read_bytes())


def parse_checksums(data: bytes) -> dict[str, str]:
    """Checksums by name; RefusedError when they are not those of a bundle's files."""
    sums: dict[str, str] = {}
    for line in data.decode("ascii", "replace").splitlines():
        found = CHECKSUM.match(line)
        if found is None or BUNDLE_NAME.match(found.group(2)) is None or found.group(2) in sums:
            raise RefusedError(f"{CHECKSUMS} is damaged")
        sums[found.group(2)] = found.group(1)
    models = [name for name in sums if name in ("model.tflite", "model.so")]
    if len(models) != 1 or not {DESCRIPTION, UNIT} < set(sums):
        raise RefusedError(f"{CHECKSUMS} does not list what a bundle has to hold")
    return sums


def check_listed(names: Iterable[str], sums: dict[str, str]) -> None:
    """Refuse files that are not in the list of checksums."""
    unlisted = sorted(set(names) - {*sums, CHECKSUMS})
    if unlisted:
        raise RefusedError(f"{shortened(unlisted[0])} is not in the bundle's {CHECKSUMS}")


def verify(bundle: Path) -> None:
    """Compare all files of an unpacked bundle with their checksums; nothing else may be there."""
    sums = read_checksums(bundle)
    found = (Path(place, name) for place, _, names in os.walk(bundle) for name in names)
    check_listed((path.relative_to(bundle).as_posix() for path in found), sums)
    for name, expected in sums.items():
        try:
            verify_file(bundle / name, expected)
        except RefusedError as error:
            raise RefusedError(f"the bundle is not whole ({error}); send it again") from None


def verify_file(path: Path, expected: str) -> None:
    """Compare a file with its checksum."""
    require_file(path, BUNDLE_LIMIT)
    if sha256(path) != expected:
        raise RefusedError(f"{path.name} is damaged")


def model_of(folder: Path) -> Path:
    """The model of a release or a bundle whose files have been verified."""
    (name,) = (name for name in read_checksums(folder) if name.startswith("model."))
    return folder / name
