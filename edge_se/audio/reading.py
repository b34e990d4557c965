"""Audio files, read block by block, so that memory does not grow with them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from edge_se.audio.formats import INSTALL_HINT, PCM_16, load_soundfile
from edge_se.audio.guarded import GuardedFile
from edge_se.audio.headers import Header, PcmFormat, examine
from edge_se.audio.pipes import is_standard_input, open_input
from edge_se.ending import ending_put_off
from edge_se.errors import UserError, reason
from edge_se.quantized import SAMPLE_STEP, dequantize
from edge_se.resampling import Resampler
from edge_se.samples import complain
from edge_se.stft import Samples

# Samples of a block, in all channels together. libsndfile's Vorbis encoder keeps a whole write on
# the stack, and dies of 2 million.
BLOCK = 1 << 16
# Every channel costs memory of its own. Arrays of microphones have up to 64.
MOST_CHANNELS = 64
# Slower is no speech, faster no converter; what claims to be has a damaged header.
RATES = range(1000, 1_000_001)
_UNKNOWN = 1 << 62  # libsndfile says 2**63 - 1 frames where nobody knows

_File = TypeVar("_File", bound="AudioFile")


class AudioWarning(UserWarning):
    """A file does not hold what it says; what there is was used."""


class AudioFile:
    """An audio file, to be read from its start as often as one likes.

    Attributes:
        name: What messages call it.
        rate: In Hz.
        channels: How many, 1 to `MOST_CHANNELS`.
        subtype: Sample format in libsndfile's terms, as "PCM_16".
        frames: Samples per channel by its header; None where that is not known.
    """

    def __init__(self, path: Path) -> None:
        """Open a file, or a pipe, or `-` for standard input.

        Raises:
            UserError: There is no such file, or it is no audio this installation can read.
        """
        self.name = "standard input" if is_standard_input(path) else str(path)
        self._file = open_input(path)
        self._warned = False
        self._guarded: GuardedFile | None = None
        try:
            self._header = self._examine()
            if (pcm := self._header.pcm) is not None:
                self._require_sense(pcm.rate, pcm.channels)
            with self._decode() as (decoder, _):
                self.rate, self.channels = decoder.rate, decoder.channels
                self.subtype = decoder.subtype
                self.frames = decoder.frames if decoder.frames < _UNKNOWN else None
            self._require_sense(self.rate, self.channels)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self: _File) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def share(self) -> float:
        """How much of the file has been read since its start, from 0 to 1."""
        return 0.0 if self._guarded is None else self._guarded.share

    def blocks(self, rate: int | None = None) -> Iterator[Samples]:
        """The file's samples at `rate` (by default its own), float32 [n, channels] each.

        Blocks hold up to `BLOCK` samples before they are resampled.

        Raises:
            UserError: The file is damaged, or holds samples that are not finite or far beyond full
                scale.
        """
        resampler = Resampler(self.rate, self.rate if rate is None else rate, self.channels)
        length = max(1, BLOCK // self.channels)
        count = 0
        with self._decode() as (decoder, file):
            while len(block := self._read(decoder, file, length, count)):
                count += len(block)
                if complaint := complain(block):
                    raise UserError(f"{self.name} holds {complaint}")
                yield resampler.push(block)
            yield resampler.finish()
        self._compare(count)

    def _examine(self) -> Header:
        try:
            size = self._file.seek(0, 2)
            if not size:
                raise UserError(f"{self.name} is empty: it has no bytes")
            header = examine(self._file, size)
        except OSError as error:
            raise UserError(f"{self.name} can't be read ({reason(error)})") from None
        return header

    @contextmanager
    def _decode(self) -> Iterator[tuple["_Decoder", GuardedFile]]:
        file = self._guarded = GuardedFile(self._file, self._header.patches)
        soundfile = load_soundfile()
        if soundfile is None:
            yield _PcmDecoder(file, self._header.pcm, self.name), file
            return
        try:
            with ending_put_off():
                decoder = _decoder_class(soundfile)(file)
        except soundfile.LibsndfileError as error:
            raise UserError(self._unreadable(file, error.error_string)) from None
        with decoder:
            yield decoder, file

    def _read(self, decoder: "_Decoder", file: GuardedFile, length: int, count: int) -> Samples:
        soundfile = load_soundfile()
        block = np.full((length, self.channels), np.nan, np.float32)
        try:
            with ending_put_off():
                read = decoder.read_into(block)
        except RuntimeError as error:  # of which soundfile's errors are
            if soundfile is None or not isinstance(error, soundfile.LibsndfileError):
                raise
            if file.error is not None or not file.exhausted:
                seconds = count / self.rate
                raise UserError(
                    f"{self._unreadable(file, error.error_string)}: it is damaged after "
                    f"{seconds:.1f} s"
                ) from None
            # It ends in the middle of something; the decoder has left the rest as it was.
            missing = np.isnan(block).any(axis=1)
            read = int(missing.argmax()) if missing.any() else length
        if file.error is not None:
            raise UserError(self._unreadable(file, ""))
        return block[:read]

    def _unreadable(self, file: GuardedFile, complaint: str) -> str:
        if file.error is not None:
            return f"{self.name} can't be read ({reason(file.error)})"
        why = complaint.removeprefix("Error : ").rstrip(".") or "libsndfile does not say why"
        return f"{self.name} can't be read as audio ({why})"

    def _require_sense(self, rate: int, channels: int) -> None:
        if rate not in RATES:
            raise UserError(
                f"{self.name} says that its rate is {rate} Hz; only {RATES.start} to "
                f"{RATES.stop - 1} Hz make sense, so its header is probably damaged"
            )
        if not 1 <= channels <= MOST_CHANNELS:
            raise UserError(
                f"{self.name} says that it has {channels} channels; between 1 and "
                f"{MOST_CHANNELS} can be processed: split it, or repair its header"
            )

    def _compare(self, count: int) -> None:
        """Warn, once, where the file does not hold what it says."""
        complaint, claimed = self._header.complaint, self._header.claimed_frames or self.frames
        if complaint is None and claimed is not None and claimed != count:
            complaint = (
                f"speaks of {claimed:,} samples in its header and holds {count:,}: it is damaged "
                "or cut off; what it holds is used"
            )
        if complaint is not None and not self._warned:
            self._warned = True
            warnings.warn(f"{self.name} {complaint}", AudioWarning, stacklevel=3)


class StereoFile(AudioFile):
    """An audio file of one or two channels; a single one is read as two equal ones."""

    def __init__(self, path: Path) -> None:
        """Open a file; raises UserError as `AudioFile`, and for more than two channels."""
        super().__init__(path)
        if self.channels > 2:
            self.close()
            raise UserError(
                f"{path} has {self.channels} channels; mix it down to two before separating it"
            )

    def blocks(self, rate: int | None = None) -> Iterator[Samples]:
        """As `AudioFile.blocks`, float32 [n, 2] each."""
        for block in super().blocks(rate):
            yield np.repeat(block, 2 // block.shape[1], axis=1)


class _Decoder(Protocol):
    rate: int
    channels: int
    subtype: str
    frames: int

    def read_into(self, block: Samples) -> int:
        """Read float32 [n, channels]; gives how many of the n there were."""


@cache
def _decoder_class(soundfile: Any) -> Any:
    """A file of libsndfile that is read from start to end and never sought in.

    soundfile itself seeks after each block, which takes time, and which some codecs can't.
    """

    class Decoder(soundfile.SoundFile):
        rate = property(lambda self: self.samplerate)

        def seekable(self) -> bool:
            return False

        def read_into(self, block: Samples) -> int:
            return len(self.read(out=block))

    return Decoder


class _PcmDecoder:
    """16-bit WAV without libsndfile."""

    def __init__(self, file: GuardedFile, pcm: PcmFormat | None, name: str) -> None:
        if pcm is None or (pcm.tag != 1 and pcm.bits == 16):
            why = "no header of one" if pcm is None else f"its codec has the number {pcm.tag}"
            raise UserError(
                f"{name} is not a plain WAV file ({why}); to read other formats, {INSTALL_HINT}"
            )
        if pcm.bits != 16:
            raise UserError(f"{name} has {pcm.bits}-bit samples; to read it, {INSTALL_HINT}")
        self.rate, self.channels, self.subtype = pcm.rate, pcm.channels, PCM_16
        self.frames = pcm.size // max(2 * pcm.channels, 1)
        self._file, self._left = file, self.frames
        file.seek(pcm.start)

    def read_into(self, block: Samples) -> int:
        values = np.empty((min(len(block), self._left), self.channels), "<i2")
        read = self._file.readinto(values.reshape(-1).view(np.uint8)) // (2 * self.channels)
        self._left -= read
        block[:read] = dequantize(values[:read].astype(np.int16), SAMPLE_STEP, 0)
        return read
