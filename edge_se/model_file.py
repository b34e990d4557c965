"""The model file: a .tflite with its manifest appended as an associated file of a ZIP archive.

This is the convention of TFLite Metadata: any TFLite runtime loads the file and ignores what
follows the flatbuffer, and any ZIP tool reads the manifest. Beside it may lie the network's weights
for the C engine, one entry for each arithmetic.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edge_se.errors import UserError
from edge_se.files import written_beside
from edge_se.manifest import Manifest

MANIFEST_NAME = "manifest.json"
# Entries with weights for the C engine, by its arithmetic.
WEIGHTS_NAMES = {name: f"weights.{name}.bin" for name in ("float", "fixed")}
_FLATBUFFER_IDENTIFIER = b"TFL3"


def default_model_path() -> Path:
    """Path of the model that ships with the package.

    Raises:
        UserError: This installation holds none.
    """
    path = Path(__file__).parent / "models" / "default.tflite"
    if not path.is_file():
        raise UserError("this edge-se has no default model built in; name one with --model FILE")
    return path


def split(data: bytes) -> tuple[bytes, bytes | None]:
    """Split a model file's bytes into the flatbuffer and the manifest's JSON (None without one).

    Raises:
        zipfile.BadZipFile: The manifest is damaged.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return data, None
    with archive:
        if MANIFEST_NAME not in archive.namelist():
            return data, None
        start = min(entry.header_offset for entry in archive.infolist())
        return data[:start], archive.read(MANIFEST_NAME)


def attached_weights(data: bytes) -> dict[str, bytes]:
    """Weights for the C engine that a model file carries, by arithmetic.

    Raises:
        zipfile.BadZipFile: They are damaged.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return {}
    with archive:
        present = set(archive.namelist())
        return {
            arithmetic: archive.read(name)
            for arithmetic, name in WEIGHTS_NAMES.items()
            if name in present
        }


def attach_manifest(
    tflite: bytes, manifest: Manifest, weights: Mapping[str, bytes] | None = None
) -> bytes:
    """Append a manifest to a .tflite, in place of the one that it may have already.

    The result depends on the arguments alone: ZIP entries are stored with a fixed time.

    Args:
        tflite: With or without a manifest.
        manifest: To append.
        weights: For the C engine, by arithmetic; None for those that it may have already.
    """
    flatbuffer, _ = split(tflite)
    weights = attached_weights(tflite) if weights is None else weights
    files = {MANIFEST_NAME: manifest.to_json().encode()}
    files |= {WEIGHTS_NAMES[arithmetic]: blob for arithmetic, blob in weights.items()}
    buffer = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def read_model(path: Path) -> tuple[bytes, Manifest]:
    """Read a .tflite: its bytes (manifest included) and its manifest.

    Raises:
        UserError: There is no such file, it is no .tflite, or its manifest is missing or wrong.
    """
    if not path.is_file():
        raise UserError(f"there is no model file {path}")
    data = path.read_bytes()
    return data, manifest_of(data, str(path))


def manifest_of(data: bytes, source: str) -> Manifest:
    """The manifest in the bytes of a .tflite; `source` is what errors call it.

    Raises:
        UserError: It is no .tflite, or its manifest is missing or wrong.
    """
    if data[4:8] != _FLATBUFFER_IDENTIFIER:
        raise UserError(f"{source} is not a TFLite model; make one with edge-se quantize")
    try:
        _, text = split(data)
    except zipfile.BadZipFile as error:
        raise UserError(f"{source} is damaged ({error}); make or copy it again") from None
    if text is None:
        raise UserError(
            f"{source} is a TFLite model without an edge-se manifest; make one with edge-se "
            "quantize"
        )
    return Manifest.from_json(text, source)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a .tflite; raises as `read_model`."""
    return read_model(path)[1]


def write_model(path: Path, tflite: bytes, manifest: Manifest) -> None:
    """Write a .tflite with its manifest, whole or not at all."""
    data = attach_manifest(tflite, manifest)
    with written_beside(path) as temporary:
        temporary.write_bytes(data)
