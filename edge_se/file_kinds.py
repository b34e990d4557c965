"""What a file is by its first bytes, so that a wrong one can be called by its name."""

# Beginnings (and where they stand) of what people have in the place of something else.
_BEGINNINGS = (
    (4, b"TFL3", "a TFLite model"),
    (0, b"\x7fELF", "a compiled library"),
    (0, b"version https://git-lfs", "a Git LFS pointer (fetch the file itself with git lfs pull)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 (Keras) file"),
    (0, b"RIFF", "an audio file"),
    (0, b"fLaC", "an audio file"),
    (0, b"OggS", "an audio file"),
    (0, b"\x1f\x8b", "a gzip archive (unpack it first)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (unpack it first)"),
    (257, b"ustar", "a tar archive (unpack it first)"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x80\x02", "a pickle"),
    (0, b"\x80\x03", "a pickle"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"),
)
_LOOKED_AT = 4096


def kind_of(content: bytes) -> str | None:
    """What the bytes of a file are, with its article; None where they don't tell."""
    if not content:
        return "an empty file"
    for offset, beginning, name in _BEGINNINGS:
        if content.startswith(beginning, offset):
            return name
    start = content[:_LOOKED_AT].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page (a download that failed)"
    # An ONNX model is a protobuf whose first field is its version, and the second who made it.
    version, maker = content[1:2], content[2:3]
    if content[:1] == b"\x08" and b"\0" < version < b" " and maker in (b"\x12", b"\x3a"):
        return "an ONNX model"
    # A safetensors file: the length of its header, a JSON object.
    if content[8:10] in (b'{"', b"{}") and int.from_bytes(content[:8], "little") < len(content):
        return "a safetensors file"
    if not content.strip(b"\0"):
        return "a file of zeros"
    return None


def in_brackets(content: bytes) -> str:
    """` (it is an ONNX model)`, or nothing where the bytes don't tell."""
    kind = kind_of(content)
    return "" if kind is None else f" (it is {kind})"
