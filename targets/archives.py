"""Archives that depend on their contents alone, byte for byte.

Nothing has a time, and nothing is compressed: versions of zlib do that differently, and almost all
that these archives hold is compressed already.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """A zip of files by name, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def stored_gzip(data: bytes) -> bytes:
    """A gzip file of stored blocks."""
    size = 0xFFFF
    blocks = [data[start : start + size] for start in range(0, len(data), size)] or [b""]
    parts = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"]
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    parts.append(struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
    return b"".join(parts)
