"""Long stereo files, read and written block by block, so that memory does not grow with them."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edge_se.audio import INSTALL_HINT, PCM_16, load_soundfile
from edge_se.errors import UserError
from edge_se.files import written_beside
from edge_se.quantized import SAMPLE_STEP, dequantize, quantize
from edge_se.stft import Samples

BLOCK = 1 << 16


class StereoFile:
    """An audio file, to be read from its start as often as one likes.

    Attributes:
        path: Of the file.
        rate: In Hz.
        channels: 1 or 2; a single one is read as two equal ones.
        subtype: Sample format in libsndfile's terms, as "PCM_16".
    """

    def __init__(self, path: Path) -> None:
        """Look at a file.

        Raises:
            UserError: There is no such file, it is no audio this installation can read, or it has
                more than two channels.
        """
        if not path.is_file():
            raise UserError(f"there is no audio file {path}")
        self.path = path
        with self._open() as file:
            self.rate, self.channels, self.subtype = file.rate, file.channels, file.subtype
        if self.channels > 2:
            raise UserError(
                f"{path} has {self.channels} channels; mix it down to two before separating it"
            )

    def blocks(self, rate: int) -> Iterator[Samples]:
        """The file's samples at `rate`, float32 [n, 2] each, with n up to about `BLOCK`.

        Raises:
            UserError: The file is damaged, holds samples that are not finite, or has another rate
                and soxr is not installed.
        """
        with self._open() as file:
            resampler = Resampler(self.rate, rate)
            while len(block := file.read(BLOCK)):
                if not np.isfinite(block).all():
                    raise UserError(f"{self.path} holds NaN or infinite samples; repair it first")
                yield resampler.push(np.repeat(block, 2 // block.shape[1], axis=1))
            yield resampler.finish()

    @contextmanager
    def _open(self) -> Iterator["_SoundfileReader | _WaveReader"]:
        soundfile = load_soundfile()
        try:
            if soundfile is None:
                with wave.open(str(self.path), "rb") as file:
                    yield _WaveReader(file, self.path)
            else:
                with soundfile.SoundFile(str(self.path)) as file:
                    yield _SoundfileReader(file)
        except (wave.Error, EOFError) as error:
            raise UserError(
                f"{self.path} is not a plain WAV file ({error or 'it ends early'}); to read other "
                f"formats, {INSTALL_HINT}"
            ) from None
        except RuntimeError as error:  # of which soundfile's errors are
            if soundfile is None or not isinstance(error, soundfile.LibsndfileError):
                raise
            raise UserError(f"{self.path} can't be read as audio ({error.error_string})") from None


class _SoundfileReader:
    def __init__(self, file: Any) -> None:
        self.rate, self.channels, self.subtype = file.samplerate, file.channels, file.subtype
        self._file = file

    def read(self, count: int) -> Samples:
        samples: Samples = self._file.read(count, dtype="float32", always_2d=True)
        return samples


class _WaveReader:
    def __init__(self, file: wave.Wave_read, path: Path) -> None:
        self.rate, self.channels, self.subtype = file.getframerate(), file.getnchannels(), PCM_16
        if file.getsampwidth() != 2:
            bits = 8 * file.getsampwidth()
            raise UserError(f"{path} has {bits}-bit samples; to read it, {INSTALL_HINT}")
        self._file = file

    def read(self, count: int) -> Samples:
        data = self._file.readframes(count)
        whole = len(data) - len(data) % (2 * self.channels)
        values = np.frombuffer(data[:whole], "<i2").astype(np.int16).reshape(-1, self.channels)
        return dequantize(values, SAMPLE_STEP, 0).astype(np.float32, copy=False)


class Resampler:
    """Stereo samples from one rate to another by a linear-phase filter, block by block."""

    def __init__(self, rate: int, new_rate: int) -> None:
        """Rates in Hz; raises UserError if they differ and soxr is not installed."""
        self._stream: Any = None
        if rate == new_rate:
            return
        try:
            import soxr
        except ModuleNotFoundError:
            raise UserError(
                f"audio at {rate} Hz has to be resampled to {new_rate} Hz; to do so, {INSTALL_HINT}"
            ) from None
        self._stream = soxr.ResampleStream(rate, new_rate, 2, dtype="float32")

    def push(self, samples: Samples) -> Samples:
        """Take in float32 [n, 2]; gives what is ready, float32 [m, 2]."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def finish(self) -> Samples:
        """What is left, float32 [m, 2]."""
        nothing = np.empty((0, 2), np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)


class StereoWriter:
    """A stereo WAV file written block by block, whole or not at all.

    Used as a context: when it is left, the file has exactly `length` samples per channel, cut or
    continued with silence; when it is left by an exception, there is no file.
    """

    def __init__(self, path: Path, rate: int, subtype: str, length: int) -> None:
        """Where, at which rate in Hz, in libsndfile's sample format, and how long in samples."""
        self._context = written_beside(path)
        self._rate, self._left = rate, length
        self._soundfile = load_soundfile()
        known = self._soundfile is not None and self._soundfile.check_format("WAV", subtype)
        self._subtype = subtype if known else PCM_16
        self._file: Any = None

    def __enter__(self) -> "StereoWriter":
        temporary = str(self._context.__enter__())
        if self._soundfile is not None:
            self._file = self._soundfile.SoundFile(
                temporary, "w", self._rate, 2, self._subtype, format="WAV"
            )
        else:
            self._file = wave.open(temporary, "wb")
            self._file.setparams((2, 2, self._rate, 0, "NONE", ""))
        return self

    def write(self, samples: Samples) -> None:
        """Append float32 [n, 2]; integer formats clip what is beyond [-1, 1]."""
        samples = samples[: self._left]
        self._left -= len(samples)
        integers = (
            # libsndfile would scale by 32767: reading and writing would not cancel.
            quantize(samples, SAMPLE_STEP, 0, np.int16) if self._subtype == PCM_16 else samples
        )
        if self._soundfile is not None:
            self._file.write(integers)
        else:
            self._file.writeframes(integers.astype("<i2", copy=False).tobytes())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while error is None and self._left:
            self.write(np.zeros((min(self._left, BLOCK), 2), np.float32))
        self._file.close()
        self._context.__exit__(kind, error, traceback)
