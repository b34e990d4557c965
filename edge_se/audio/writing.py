"""Audio files, written block by block, whole or not at all."""

import tempfile
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_se.audio.formats import (
    BITS,
    choose_subtype,
    format_of,
    load_soundfile,
    require_holds,
)
from edge_se.audio.guarded import GuardedFile
from edge_se.audio.pipes import STANDARD_OUTPUT, is_pipe_to_write, require_output_pipe
from edge_se.audio.reading import BLOCK
from edge_se.ending import ending_put_off
from edge_se.errors import UserError, reason
from edge_se.files import STANDARD, require_writable, written_beside
from edge_se.quantized import SAMPLE_STEP, quantize
from edge_se.stft import Samples

# Formats whose sizes have 32 bits, and room for what else is in the file.
_FOUR_GIB_FORMATS = frozenset({"WAV", "AIFF", "AU"})
_FOUR_GIB = (1 << 32) - (1 << 16)


def to_integers(samples: Samples, bits: int) -> NDArray[np.int32]:
    """Samples in steps of so many bits, at the upper end of int32, clipped to [-1, 1].

    libsndfile would scale by one step less than full scale, and cut off instead of rounding:
    reading and writing would not cancel.
    """
    limit = 1 << (bits - 1)
    values = quantize(samples, 1 / limit, 0, np.int32)
    return np.clip(values, -limit, limit - 1).astype(np.int32) << (32 - bits)


def check_target(path: Path) -> None:
    """Check what is known of a file to be written before its content is.

    Raises:
        UserError: No such file can be written.
    """
    if is_pipe_to_write(path):
        require_output_pipe(path)
        return
    format_of(path)
    require_writable(path)


@contextmanager
def writing(
    path: Path, rate: int, channels: int, subtype: str, frames: int | None = None
) -> Iterator["AudioWriter"]:
    """Write an audio file; it is there when the block succeeds, and an older one stays if not.

    Everything that can be known before the first sample is checked on entering.

    Args:
        path: Its suffix names the format; `-` is standard output, as WAV.
        rate: In Hz.
        channels: How many.
        subtype: How samples are held, in libsndfile's terms, where the format has it.
        frames: How many samples per channel there will be, where that is known.

    Raises:
        UserError: It can't be written, or the format can't hold what is to come.
    """
    check_target(path)
    pipe = is_pipe_to_write(path)
    name = "WAV" if pipe and not path.suffix else format_of(path)
    subtype = choose_subtype(name, subtype, path.suffix)
    require_holds(path, name, subtype, rate, channels)
    _require_room(path, name, subtype, (frames or 0) * channels)
    try:
        with ExitStack() as stack:
            target = STANDARD_OUTPUT if str(path) == STANDARD else path
            temporary = stack.enter_context(written_beside(target))
            file: Any = stack.enter_context(temporary.open("w+b", buffering=0))
            writer = AudioWriter(path, file, name, subtype, rate, channels)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.finish()
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" in {tempfile.gettempdir()}" if pipe else ""
        raise UserError(f"{path} can't be written: {reason(error)}{where}") from None


class AudioWriter:
    """An audio file that is being written.

    Attributes:
        format: libsndfile's name of it.
        subtype: How samples are held.
        written: Samples per channel so far.
    """

    def __init__(
        self, path: Path, file: BinaryIO, name: str, subtype: str, rate: int, channels: int
    ) -> None:
        """Begin a file in a format that can hold what is to come; see `writing`."""
        self.format, self.subtype, self.written = name, subtype, 0
        self._path, self._channels = path, channels
        self._guarded = GuardedFile(file)
        self._soundfile = load_soundfile()
        self._encoder: Any
        if self._soundfile is None:
            # For `wave`, whose stubs want all of a file's methods, and which uses few of them.
            whole_file: Any = self._guarded
            self._encoder = wave.open(whole_file, "wb")  # noqa: SIM115 (closed by `finish`)
            self._encoder.setparams((channels, 2, rate, 0, "NONE", ""))
        else:
            with self._errors():
                self._encoder = self._soundfile.SoundFile(
                    self._guarded, "w", rate, channels, subtype, format=name
                )

    def write(self, samples: Samples) -> None:
        """Append float32 [n, channels]; integer formats clip what is beyond [-1, 1].

        Raises:
            OSError: The disk is full.
            UserError: The file grows beyond what its format can hold.
        """
        count = (self.written + len(samples)) * self._channels
        _require_room(self._path, self.format, self.subtype, count)
        step = max(1, BLOCK // self._channels)
        for start in range(0, len(samples), step):
            self._write_block(samples[start : start + step])
        self.written += len(samples)

    def finish(self) -> None:
        """Write what is left, and look whether all is there; raises as `write`."""
        with self._errors():
            self._encoder.close()
        if self._soundfile is None:
            return
        self._guarded.seek(0)
        try:
            with ending_put_off(), self._soundfile.SoundFile(self._guarded) as file:
                frames = file.frames
        except self._soundfile.LibsndfileError:
            frames = -1
        if frames != self.written:
            if self.written == 0:
                why = f"{self.format} as {self.subtype} can't hold a recording without samples"
                raise UserError(f"{self._path} can't be written: {why}; use .wav")
            raise UserError(
                f"{self._path} can't be written: of {self.written:,} samples {max(frames, 0):,} "
                f"arrived in {self.format}; is the folder for temporary files full?"
            )

    def abandon(self) -> None:
        """Let go of a file that is not to be."""
        with suppress(OSError, UserError), self._errors():
            self._encoder.close()

    def _write_block(self, samples: Samples) -> None:
        if self._soundfile is None:
            values = quantize(samples, SAMPLE_STEP, 0, np.int16)
            with self._errors():
                self._encoder.writeframesraw(values.astype("<i2", copy=False).tobytes())
            return
        bits = BITS.get(self.subtype)
        with self._errors():
            self._encoder.write(
                np.ascontiguousarray(samples) if bits is None else to_integers(samples, bits)
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise what the system said, where libsndfile only says that something went wrong."""
        try:
            with ending_put_off():
                yield
        except AssertionError:  # soundfile's, of a write that did not take everything
            self._guarded.check()
            raise UserError(f"{self._path} can't be written: libsndfile stopped") from None
        except RuntimeError as error:  # of which libsndfile's errors are
            self._guarded.check()
            reason = getattr(error, "error_string", str(error))
            raise UserError(f"{self._path} can't be written ({reason})") from None
        self._guarded.check()


def _require_room(path: Path, name: str, subtype: str, count: int) -> None:
    width = {"FLOAT": 4, "DOUBLE": 8}.get(subtype, BITS.get(subtype, 0) / 8)
    if name in _FOUR_GIB_FORMATS and count * width > _FOUR_GIB:
        raise UserError(f"{path} would be longer than {name} can hold (4 GiB); use .w64 or .flac")
