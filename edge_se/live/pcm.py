"""Raw PCM: samples as bytes, in the formats that sound cards have, and what tells them."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.audio.headers import PcmFormat, examine
from edge_se.errors import UserError
from edge_se.live.limits import LIMITS
from edge_se.quantized import SAMPLE_STEP, quantize

# Bytes of a sample by format, in ffmpeg's names; 24 bits are packed into 3 bytes, ALSA's S24_3LE.
FORMATS = {"s16le": 2, "s24le": 3, "s24_3le": 3, "s32le": 4, "f32le": 4}
# A WAV file's tag (integers or floats) and bits.
_WAV_FORMATS = {(1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le", (3, 32): "f32le"}
# What other files and streams have at the start, and where: decoders take them, and as raw samples
# they would be noise. MP3, AAC and AC-3 without a tag begin as samples may.
_CONTAINERS = (
    (0, b"RIFX", "a big-endian WAV file"),
    (0, b"riff", "W64"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"FORM", "AIFF"),
    (0, b"caff", "CAF"),
    (0, b".snd", "AU"),
    (0, b"ID3", "MP3"),
    (0, b"Creative", "VOC"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA", "TTA"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"#!AMR", "AMR"),
    (0, b"NIST", "a SPHERE file"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (4, b"ftyp", "MP4"),
)
HEAD = 12  # bytes that tell a header from samples
HEADER_LIMIT = 1 << 16
_S24_STEP, _S32_STEP = 2.0**-23, 2.0**-31


@dataclass(frozen=True)
class Pcm:
    """How samples are laid out in bytes.

    Attributes:
        rate: In Hz.
        channels: Interleaved.
        format: One of `FORMATS`.
    """

    rate: int
    channels: int
    format: str

    def __str__(self) -> str:
        plural = "s" if self.channels > 1 else ""
        return f"{self.format} at {self.rate} Hz with {self.channels} channel{plural}"

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of each channel."""
        return FORMATS[self.format] * self.channels

    def decode(self, data: bytes | bytearray) -> NDArray[Any]:
        """Bytes of whole frames as samples [n, channels]: int16 for s16le, or float32.

        Raises:
            UserError: Floats that are NaN or infinite, which no source of sound gives.
        """
        if self.format == "s16le":
            samples: NDArray[Any] = np.frombuffer(data, "<i2")
        elif self.format == "f32le":
            samples = np.frombuffer(data, "<f4")
            if not np.isfinite(samples).all():
                raise UserError("the samples hold NaN or infinity; is --format f32le right?")
        elif self.format == "s32le":
            samples = (np.frombuffer(data, "<i4") * _S32_STEP).astype(np.float32)
        else:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            samples = (wide.view("<i4")[:, 0] * _S32_STEP).astype(np.float32)
        return samples.reshape(-1, self.channels)

    def encode(self, samples: NDArray[Any]) -> bytes:
        """Samples [n, channels], int16 or float32, as bytes; floats beyond [-1, 1] are clipped."""
        if self.format == "f32le":
            return _floats(samples).astype("<f4").tobytes()
        if self.format == "s16le":
            if samples.dtype != np.int16:
                samples = quantize(samples, SAMPLE_STEP, 0, np.int16)
            return samples.astype("<i2", copy=False).tobytes()
        floats = _floats(samples)
        if self.format == "s32le":
            return quantize(floats, _S32_STEP, 0, np.int32).astype("<i4").tobytes()
        limit = 2**23 - 1
        whole = quantize(floats, _S24_STEP, 0, np.int32).clip(-limit - 1, limit).astype("<i4")
        return np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _floats(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype == np.int16:
        return samples * np.float32(SAMPLE_STEP)
    return samples


@dataclass(frozen=True)
class WavHeader:
    """What the header at the start of a stream says.

    Attributes:
        pcm: How the samples are laid out.
        start: Bytes before them.
        size: Bytes of samples; None where whoever wrote it did not know.
    """

    pcm: Pcm
    start: int
    size: int | None


def find_header(head: bytes) -> WavHeader | None:
    """The WAV header that a stream begins with; None where more of it has to be read first.

    Args:
        head: The stream's first bytes, which begin as a WAV file does (`is_wav`).

    Raises:
        UserError: It is damaged, or its samples are of a kind that is not taken.
    """
    found = examine(io.BytesIO(head), len(head)).pcm
    if found is None:
        if len(head) >= HEADER_LIMIT:
            raise UserError("standard input is a WAV file whose header has no samples behind it")
        return None
    return WavHeader(_pcm_of(found), found.start, _claimed_size(head, found.start))


def _pcm_of(found: PcmFormat) -> Pcm:
    name = _WAV_FORMATS.get((found.tag, found.bits))
    if name is None:
        raise UserError(
            f"standard input is a WAV file of kind {found.tag} with {found.bits} bits, which can't "
            "be streamed; convert it: ffmpeg -i - -c:a pcm_s16le -f wav -"
        )
    for what, value in (("rate", found.rate), ("channels", found.channels)):
        least, most = LIMITS[what]
        if not least <= value <= most:
            raise UserError(
                f"standard input is a WAV file whose {what} would be {value}, and {least} to "
                f"{most} can be streamed; its header is probably damaged"
            )
    return Pcm(found.rate, found.channels, name)


def _claimed_size(head: bytes, start: int) -> int | None:
    size = int.from_bytes(head[start - 4 : start], "little")
    return None if size == 0 or size >= 0x7FFF0000 else size


def is_wav(head: bytes) -> bool:
    """Whether a stream's first bytes are those of a WAV file.

    Raises:
        UserError: They are those of another kind of file, which would sound as noise.
    """
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return True
    for start, beginning, kind in _CONTAINERS:
        if head.startswith(beginning, start):
            raise UserError(
                f"standard input is {kind}, and stream takes raw samples or WAV; decode it first: "
                "ffmpeg -i - -f s16le -ar 16000 -ac 1 -"
            )
    return False
