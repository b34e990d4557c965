"""The model file: a body that a runtime runs, and its manifest behind it.

Behind a .tflite and a .so the manifest is the first entry of a ZIP archive, as TFLite Metadata has
it: runtimes and loaders ignore what follows, and any ZIP tool reads it. Beside it may lie the
network's weights for the C engine, an entry for each arithmetic. Behind an .onnx the manifest is an
entry of the model's metadata, which is where a protobuf may be continued.

The manifest holds the SHA-256 of the body and of weights, and what is behind the body has to be,
byte for byte, what `attach_manifest` makes of that manifest and those weights. So a file that is
read is a file as it was written: no runtime, loader, engine or archive reader sees one that is
damaged.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge_se.errors import UserError, reason
from edge_se.file_kinds import in_brackets, kind_of
from edge_se.files import find_named, write_whole
from edge_se.manifest import Manifest

MANIFEST_NAME = "manifest.json"
# Entries with weights for the C engine, by its arithmetic.
WEIGHTS_NAMES = {name: f"weights.{name}.bin" for name in ("float", "fixed", "int8")}
_ENTRIES = (MANIFEST_NAME, *WEIGHTS_NAMES.values())  # of an archive, in this order
# Keys of an ONNX model's metadata; the CRC-32 is what a ZIP archive has anyway.
MANIFEST_KEY, _CRC_KEY = "edge_se_manifest", "edge_se_manifest_crc32"
_END_OF_ARCHIVE = 22  # bytes of the record that ends a ZIP archive
_METADATA_FIELD = 14  # of the protobuf `ModelProto`


class DamagedError(ValueError):
    """What is behind a model's body is not as it was written."""


@dataclass(frozen=True)
class _Kind:
    """A kind of model file: its name, what makes one, how its entries are appended and found.

    Entries are the manifest's text and weights, by the names of `_ENTRIES`.
    """

    name: str
    maker: str
    tail: Callable[[bytes, Mapping[str, bytes]], bytes]
    find: Callable[[bytes], tuple[int, dict[str, bytes]] | None]
    traces: bytes


def _zip_tail(body: bytes, entries: Mapping[str, bytes]) -> bytes:
    """The archive with entries behind a body; the same for the same arguments."""
    buffer = io.BytesIO(body)
    buffer.seek(len(body))
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in _ENTRIES:
            if name in entries:
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system = 3
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, entries[name])
    return buffer.getvalue()[len(body) :]


def _find_in_zip(data: bytes) -> tuple[int, dict[str, bytes]] | None:
    """Where an archive begins, and its entries; None where none of ours ends here.

    Nothing but `split`'s comparison tells whether it is as it was written.
    """
    end = data[-_END_OF_ARCHIVE:]
    count, at = (int.from_bytes(end[first:last], "little") for first, last in ((10, 12), (16, 20)))
    if not end.startswith(b"PK\5\6") or not 0 < count <= len(_ENTRIES):
        return None
    entries, starts = {}, []
    for _ in range(count):
        size, name_size, start = (
            int.from_bytes(data[at + first : at + last], "little")
            for first, last in ((20, 24), (28, 30), (42, 46))
        )
        name = data[at + 46 : at + 46 + name_size].decode("latin-1")
        content = start + 30 + name_size
        entries[name] = data[content : content + size]
        starts.append(start)
        at += 46 + name_size
    return starts[0], entries


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes((*digits, number))


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _onnx_tail(body: bytes, entries: Mapping[str, bytes]) -> bytes:
    """Metadata with a manifest's text, which continues an ONNX model's protobuf."""
    text = entries[MANIFEST_NAME]
    metadata = {_CRC_KEY: b"%08x" % zlib.crc32(text), MANIFEST_KEY: text}
    return b"".join(
        _field(_METADATA_FIELD, _field(1, key.encode()) + _field(2, value))
        for key, value in metadata.items()
    )


def _find_in_onnx(data: bytes) -> tuple[int, dict[str, bytes]] | None:
    key = _field(1, MANIFEST_KEY.encode())
    at = data.rfind(key)
    if at < 0:
        return None
    at += len(key) + 1
    while data[at : at + 1] >= b"\x80":  # the bytes of a length but its last
        at += 1
    entries = {MANIFEST_NAME: data[at + 1 :]}
    return len(data) - len(_onnx_tail(b"", entries)), entries


_TFLITE = _Kind("TFLite model", "edge-se quantize", _zip_tail, _find_in_zip, b"manifest.json")
_ONNX = _Kind("ONNX model", "edge-se convert", _onnx_tail, _find_in_onnx, MANIFEST_KEY.encode())
_LIBRARY = _Kind("compiled library", "edge-se compile", _zip_tail, _find_in_zip, b"manifest.json")
# By the suffix of their names.
_KINDS = {".tflite": _TFLITE, ".onnx": _ONNX, ".so": _LIBRARY}
_BY_CONTENT = {"a TFLite model": _TFLITE, "a compiled library": _LIBRARY, "an ONNX model": _ONNX}


# Which built-in model runs where none is named: the better one, which a Pi 3 runs with ease.
DEFAULT = "ul_unas"


def built_in_models() -> Mapping[str, Path]:
    """Paths of the models that ship with the package, by name."""
    folder = Path(__file__).parent / "models"
    return {path.stem: path for path in sorted(folder.glob("*.tflite"))}


def default_model_path() -> Path:
    """Path of the built-in model that runs where none is named.

    Raises:
        UserError: This installation holds none.
    """
    path = built_in_models().get(DEFAULT)
    if path is None:
        raise UserError("this edge-se has no default model built in; name one with --model FILE")
    return path


def find_model(given: str | Path) -> Path:
    """Path of a model file: the built-in one of a name, or what the path is of."""
    return find_named(given, built_in_models())


def _kind(data: bytes) -> _Kind:
    return _BY_CONTENT.get(kind_of(data) or "", _TFLITE)


def split(data: bytes) -> tuple[bytes, bytes | None]:
    """Split a model file's bytes into its body and the manifest's JSON (None without one).

    Raises:
        DamagedError: What is behind the body is not as it was written.
    """
    body, entries = _parts(data)
    return body, entries.get(MANIFEST_NAME)


def attached_weights(data: bytes) -> dict[str, bytes]:
    """Weights for the C engine that a model file carries, by arithmetic; raises as `split`."""
    _, entries = _parts(data)
    return {key: entries[name] for key, name in WEIGHTS_NAMES.items() if name in entries}


def _parts(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """A model file's body, and the entries behind it; raises as `split`."""
    kind = _kind(data)
    found = kind.find(data)
    if found is not None:
        start, entries = found
        body = data[:start]
        if start > 0 and MANIFEST_NAME in entries and kind.tail(body, entries) == data[start:]:
            return body, entries
    if kind.traces in data:
        raise DamagedError("its manifest is not as it was written")
    return data, {}


def has_manifest(data: bytes) -> bool:
    """Whether there is a manifest, or what is left of one, in the bytes of a model file."""
    return _kind(data).traces in data


def attach_manifest(
    body: bytes, manifest: Manifest, weights: Mapping[str, bytes] | None = None
) -> bytes:
    """Append a manifest to a model's body, in place of the one that it may have already.

    The result depends on the arguments alone. The manifest gets the SHA-256 of body and weights.

    Args:
        body: A .tflite, an .onnx without other metadata, or a .so.
        manifest: Of that model.
        weights: For the C engine, by arithmetic, behind a .tflite or .so; None for those that it
            may have already.
    """
    weights = attached_weights(body) if weights is None else weights
    body, _ = split(body)
    described = replace(manifest, body_sha256=_sha256(body), weights_sha256=_hashes(weights))
    entries = {MANIFEST_NAME: described.to_json().encode()}
    entries |= {WEIGHTS_NAMES[arithmetic]: blob for arithmetic, blob in weights.items()}
    return body + _kind(body).tail(body, entries)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hashes(weights: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _sha256(weights[name]) for name in WEIGHTS_NAMES if name in weights}


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
        raise UserError(f"{path} can't be read ({reason(error)}); check its permissions") from None
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
    found = (_sha256(body), _hashes(attached_weights(data)))
    if found != (manifest.body_sha256, manifest.weights_sha256):
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
