"""The model file: a body that a runtime runs, and its manifest behind it.

Behind a .tflite and a .so the manifest is the one entry of a ZIP archive, as TFLite Metadata has
it: runtimes and loaders ignore what follows, and any ZIP tool reads it. Behind an .onnx it is an
entry of the model's metadata, which is where a protobuf may be continued.

The manifest holds the SHA-256 of the body, and what is behind the body has to be, byte for byte,
what `attach_manifest` makes of that manifest. So a file that is read is a file as it was written:
no runtime, loader or archive reader sees one that is damaged.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge_se.errors import UserError
from edge_se.file_kinds import in_brackets, kind_of
from edge_se.files import write_whole
from edge_se.manifest import Manifest

MANIFEST_NAME = "manifest.json"
# Keys of an ONNX model's metadata; the CRC-32 is what a ZIP archive has anyway.
MANIFEST_KEY, _CRC_KEY = "edge_se_manifest", "edge_se_manifest_crc32"
_END_OF_ARCHIVE = 22  # bytes of the record that ends a ZIP archive
_METADATA_FIELD = 14  # of the protobuf `ModelProto`


class DamagedError(ValueError):
    """What is behind a model's body is not as it was written."""


@dataclass(frozen=True)
class _Kind:
    """A kind of model file: its name, what makes one, how its manifest is appended and found."""

    name: str
    maker: str
    tail: Callable[[bytes, bytes], bytes]
    find: Callable[[bytes], tuple[int, bytes] | None]
    traces: bytes


def _zip_tail(body: bytes, text: bytes) -> bytes:
    """The archive with a manifest's text behind a body; the same for the same arguments."""
    entry = zipfile.ZipInfo(MANIFEST_NAME, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    buffer = io.BytesIO(body)
    buffer.seek(len(body))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, text)
    return buffer.getvalue()[len(body) :]


def _find_in_zip(data: bytes) -> tuple[int, bytes] | None:
    """Where an archive of one entry begins, and the entry's text; None where none ends here."""
    end = data[-_END_OF_ARCHIVE:]
    if not end.startswith(b"PK\5\6"):
        return None
    directory = int.from_bytes(end[16:20], "little")
    start = int.from_bytes(data[directory + 42 : directory + 46], "little")
    return start, data[start + 30 + len(MANIFEST_NAME) : directory]


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes((*digits, number))


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _onnx_tail(body: bytes, text: bytes) -> bytes:
    """Metadata with a manifest's text, which continues an ONNX model's protobuf."""
    entries = {_CRC_KEY: b"%08x" % zlib.crc32(text), MANIFEST_KEY: text}
    return b"".join(
        _field(_METADATA_FIELD, _field(1, key.encode()) + _field(2, value))
        for key, value in entries.items()
    )


def _find_in_onnx(data: bytes) -> tuple[int, bytes] | None:
    key = _field(1, MANIFEST_KEY.encode())
    at = data.rfind(key)
    if at < 0:
        return None
    at += len(key) + 1
    while data[at : at + 1] >= b"\x80":  # the bytes of a length but its last
        at += 1
    text = data[at + 1 :]
    return len(data) - len(_onnx_tail(b"", text)), text


_TFLITE = _Kind("TFLite model", "edge-se quantize", _zip_tail, _find_in_zip, b"manifest.json")
_ONNX = _Kind("ONNX model", "edge-se convert", _onnx_tail, _find_in_onnx, MANIFEST_KEY.encode())
_LIBRARY = _Kind("compiled library", "edge-se compile", _zip_tail, _find_in_zip, b"manifest.json")
# By the suffix of their names.
_KINDS = {".tflite": _TFLITE, ".onnx": _ONNX, ".so": _LIBRARY}
_BY_CONTENT = {"a TFLite model": _TFLITE, "a compiled library": _LIBRARY, "an ONNX model": _ONNX}


def default_model_path() -> Path:
    """Path of the model that ships with the package.

    Raises:
        UserError: This installation holds none.
    """
    path = Path(__file__).parent / "models" / "default.tflite"
    if not path.is_file():
        raise UserError("this edge-se has no default model built in; name one with --model FILE")
    return path


def _kind(data: bytes) -> _Kind:
    return _BY_CONTENT.get(kind_of(data) or "", _TFLITE)


def split(data: bytes) -> tuple[bytes, bytes | None]:
    """Split a model file's bytes into its body and the manifest's JSON (None without one).

    Raises:
        DamagedError: What is behind the body is not as it was written.
    """
    kind = _kind(data)
    found = kind.find(data)
    if found is not None:
        start, text = found
        body = data[:start]
        if start > 0 and kind.tail(body, text) == data[start:]:
            return body, text
    if kind.traces in data:
        raise DamagedError("its manifest is not as it was written")
    return data, None


def has_manifest(data: bytes) -> bool:
    """Whether there is a manifest, or what is left of one, in the bytes of a model file."""
    return _kind(data).traces in data


def attach_manifest(body: bytes, manifest: Manifest) -> bytes:
    """Append a manifest to a model's body, in place of the one that it may have already.

    The result depends on the arguments alone. The manifest gets the body's SHA-256.

    Args:
        body: A .tflite, an .onnx without other metadata, or a .so.
        manifest: Of that model.
    """
    body, _ = split(body)
    kind = _kind(body)
    text = replace(manifest, body_sha256=hashlib.sha256(body).hexdigest()).to_json().encode()
    return body + kind.tail(body, text)


def read_model(path: Path) -> tuple[bytes, Manifest]:
    """Read a .tflite, .onnx or .so: its bytes (manifest included) and its manifest.

    Nothing in the file is run, and both its body and its manifest are as they were written.

    Raises:
        UserError: There is no such file, it is no model of the kind that its name says, it is
            damaged, or its manifest is missing or wrong.
    """
    if not path.is_file():
        raise UserError(f"there is no model file {path}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); check its permissions") from None
    return data, manifest_of(data, str(path), path.suffix)


def manifest_of(data: bytes, source: str, suffix: str = ".tflite") -> Manifest:
    """The manifest in the bytes of a model file.

    Args:
        data: Of the whole file.
        source: What errors call it.
        suffix: What kind of model it has to be: ".tflite", ".onnx" or ".so".

    Raises:
        UserError: It is no such model, it is damaged, or its manifest is missing or wrong.
    """
    kind = _KINDS.get(suffix.lower(), _TFLITE)
    if _BY_CONTENT.get(kind_of(data) or "") is not kind:
        article = "an" if kind is _ONNX else "a"
        raise UserError(
            f"{source} is not {article} {kind.name}{in_brackets(data)}; make one with {kind.maker}"
        )
    try:
        body, text = split(data)
    except DamagedError as error:
        raise UserError(f"{source} is damaged ({error}); make or copy it again") from None
    if text is None:
        raise UserError(
            f"{source} is a {kind.name} without an edge-se manifest, or cut off; make one with "
            f"{kind.maker}"
        )
    manifest = Manifest.from_json(text, source)
    if hashlib.sha256(body).hexdigest() != manifest.body_sha256:
        raise UserError(
            f"{source} is damaged (its content does not have the SHA-256 in its manifest); make or "
            "copy it again"
        )
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a model file; raises as `read_model`."""
    return read_model(path)[1]


def write_model(path: Path, body: bytes, manifest: Manifest) -> None:
    """Write a model's body with its manifest, whole or not at all."""
    write_whole(path, attach_manifest(body, manifest))
