"""What the header of an audio file claims, against what the file holds.

Recorders that lost power leave sizes of zero, streams leave the largest one, copies that broke off
leave sizes beyond the end. Decoders believe some of them. So sizes are compared with the file, and
put right for whoever reads it (`Header.patches`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

# Written by streams, which don't know it: from here on, a size beyond the file's end means nothing.
_UNKNOWN_FROM = {4: 0x7FFF0000, 8: 1 << 62}
_FLAC_COUNT_BITS = 36
_OGG_FIRST_PAGE, _OGG_LAST_PAGE = 2, 4  # flags of a stream's pages (RFC 3533)


@dataclass(frozen=True)
class PcmFormat:
    """What the `fmt ` chunk of a WAV file says, and where its samples lie.

    Attributes:
        tag: 1 for integers.
        channels: How many.
        rate: In Hz.
        bits: Of a sample.
        start: Of the samples, in bytes from the file's start.
        size: Of the samples in bytes.
    """

    tag: int
    channels: int
    rate: int
    bits: int
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """What was found.

    Attributes:
        patches: Bytes to be read in place of the file's, by position.
        complaint: One sentence's end, to follow the file's name; None if claims and file agree.
        claimed_frames: How many samples per channel there are said to be, where only decoding can
            tell whether it is so.
        pcm: Of WAV files.
    """

    patches: dict[int, bytes] = field(default_factory=dict)
    complaint: str | None = None
    claimed_frames: int | None = None
    pcm: PcmFormat | None = None


class _Layout(NamedTuple):
    """How a format cuts a file into chunks: the first one, and the parts of each one's header."""

    first: int
    name: int
    size: str
    align: int
    data: bytes
    counts_header: bool = False


_RIFF = _Layout(12, 4, "<I", 2, b"data")
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RIFX": _RIFF._replace(size=">I"),
    b"RF64": _RIFF,
    b"FORM": _RIFF._replace(size=">I", data=b"SSND"),
    b"caff": _Layout(8, 4, ">q", 1, b"data"),
    b"riff": _Layout(40, 16, "<q", 8, b"data", counts_header=True),
}
_RF64_SIZE = 28  # where its first chunk, ds64, holds the size of the samples in 64 bits


class _Chunk(NamedTuple):
    name: bytes
    size: int
    size_at: int
    start: int


def examine(file: BinaryIO, size: int) -> Header:
    """Look at the header of an open file of so many bytes; its position is left anywhere."""
    magic = _at(file, 0, 4)
    if magic == b"fLaC":
        return _examine_flac(file)
    if magic == b"OggS":
        return _examine_ogg(file, size)
    if magic == b".snd":
        return _examine_au(file, size)
    if magic not in _LAYOUTS:
        return Header()
    layout, fmt = _LAYOUTS[magic], b""
    for chunk in _chunks(file, layout, layout.first, size):
        if chunk.name == b"fmt ":
            fmt = _at(file, chunk.start, min(chunk.size, 40))
        if chunk.name.startswith(layout.data):
            break
    else:
        return Header()
    claimed, size_at, packed = chunk.size, chunk.size_at, layout.size
    if magic == b"RF64" and claimed == 0xFFFFFFFF and _at(file, 12, 4) == b"ds64":
        size_at, packed = _RF64_SIZE, "<Q"
        (claimed,) = struct.unpack(packed, _at(file, size_at, 8).ljust(8, b"\0"))
    rest = size - chunk.start
    real = _real_size(file, layout, chunk.start, claimed, rest)
    complaint, patches = None, {}
    if real != claimed:
        if not _unknown(claimed, struct.calcsize(packed)):
            complaint = _disagree(claimed, real)
        value = real + (chunk.start - chunk.size_at + layout.name) * layout.counts_header
        # More than the field can hold is "unknown" to the decoder as well.
        largest = (1 << 8 * struct.calcsize(packed)) - 1
        patches[size_at] = struct.pack(packed, min(value, largest))
    pcm = _parse_fmt(fmt, magic, chunk.start, real)
    return Header(patches, complaint, pcm=pcm)


def _examine_flac(file: BinaryIO) -> Header:
    """Any claim is taken away, so that the decoder gives what there is."""
    packed = _at(file, 18, 8)
    if len(packed) < 8:
        return Header()
    value = int.from_bytes(packed, "big")
    claimed = value & ((1 << _FLAC_COUNT_BITS) - 1)
    unknown = (value - claimed).to_bytes(8, "big")
    return Header({18: unknown}, claimed_frames=claimed or None)


def _examine_ogg(file: BinaryIO, size: int) -> Header:
    """Whether a stream's last page is there, and whether it is the file's last."""
    flags = before = _OGG_FIRST_PAGE
    at = 0
    while len(page := _at(file, at, 27)) == 27 and page.startswith(b"OggS"):
        before, flags = flags, page[5]
        if flags & _OGG_FIRST_PAGE and not before & _OGG_FIRST_PAGE:
            return Header(
                complaint="holds several recordings in a row, of which only the first is used; "
                "cut it up, as with ffmpeg"
            )
        lengths = _at(file, at + 27, page[26])
        at += 27 + len(lengths) + sum(lengths)
    if flags & _OGG_LAST_PAGE and at <= size:
        return Header()
    return Header(complaint="ends before its last page: it was cut off; what it holds is used")


def _examine_au(file: BinaryIO, size: int) -> Header:
    fields = _at(file, 4, 8)
    if len(fields) < 8:
        return Header()
    start, claimed = struct.unpack(">II", fields)
    rest = size - start
    if rest < 0 or claimed == rest or _unknown(claimed, 4):
        return Header()
    if claimed < rest and _only_zeros(file, start + claimed, size):
        return Header()
    return Header({8: struct.pack(">I", min(rest, 0xFFFFFFFF))}, _disagree(claimed, rest))


def _disagree(claimed: int, real: int) -> str:
    return (
        f"speaks of {claimed:,} bytes of samples in its header and holds {real:,}: it was not "
        "closed properly, or cut off; what it holds is used"
    )


def _unknown(claimed: int, width: int) -> bool:
    return claimed < 0 or claimed >= _UNKNOWN_FROM[width]


def _real_size(file: BinaryIO, layout: _Layout, start: int, claimed: int, rest: int) -> int:
    """How many bytes of samples there are: what is claimed if the file can be so, or all."""
    if not 0 <= claimed <= rest:
        return rest
    ends = {start + claimed, start + claimed + -claimed % layout.align}
    if any(_ends_well(file, layout, end, start + rest, claimed > 0) for end in ends):
        return claimed
    return rest


def _ends_well(file: BinaryIO, layout: _Layout, end: int, size: int, trust: bool) -> bool:
    """Whether what follows the samples is no samples: nothing, padding, or chunks."""
    if size - end < layout.name + struct.calcsize(layout.size) or _only_zeros(file, end, size):
        return True
    last = end
    for chunk in _chunks(file, layout, end, size):
        if not _is_name(chunk.name):
            break
        if trust:
            return True
        last = chunk.start + chunk.size
    return last >= size - layout.align and last <= size + layout.align


def _chunks(file: BinaryIO, layout: _Layout, at: int, size: int) -> Iterator[_Chunk]:
    width = struct.calcsize(layout.size)
    while at + layout.name + width <= size:
        header = _at(file, at, layout.name + width)
        if len(header) < layout.name + width:
            return
        name, start = header[: layout.name], at + len(header)
        (length,) = struct.unpack(layout.size, header[layout.name :])
        length -= len(header) * layout.counts_header
        yield _Chunk(name, length, at + layout.name, start)
        if length < 0:
            return
        at = start + length + -length % layout.align
        # Some writers forget to pad.
        unpadded = start + length
        if at != unpadded and not _is_name(_at(file, at, 4)) and _is_name(_at(file, unpadded, 4)):
            at = unpadded


def _is_name(name: bytes) -> bool:
    return len(name) >= 4 and all(0x20 <= byte < 0x7F for byte in name[:4])


def _only_zeros(file: BinaryIO, start: int, end: int) -> bool:
    file.seek(start)
    while start < end:
        block = file.read(min(end - start, 1 << 16))
        if not block:
            return True
        if block.strip(b"\0"):
            return False
        start += len(block)
    return True


def _parse_fmt(fmt: bytes, magic: bytes, start: int, size: int) -> PcmFormat | None:
    if len(fmt) < 16:
        return None
    order = ">" if magic == b"RIFX" else "<"
    tag, channels, rate, _, _, bits = struct.unpack(f"{order}HHIIHH", fmt[:16])
    if tag == 0xFFFE and len(fmt) >= 26:  # extensible: the tag begins a longer one
        (tag,) = struct.unpack(f"{order}H", fmt[24:26])
    return PcmFormat(tag, channels, rate, bits, start, size)


def _at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
