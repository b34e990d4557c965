"""Audio files: reading, writing, and enhancing a recording of any rate and channel count.

With the extra `audio` (soundfile, soxr) any format of libsndfile and any rate is handled; without
it, 16-bit WAV at the model's rate through the standard library.
"""

import wave
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.files import written_beside
from edge_se.quantized import SAMPLE_STEP, dequantize, quantize

INSTALL_HINT = 'pip install "edge-se[audio]"'
# libsndfile's format by suffix.
_FORMATS = {
    ".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3",
    ".aif": "AIFF", ".aiff": "AIFF", ".au": "AU", ".caf": "CAF", ".w64": "W64", ".rf64": "RF64",
}  # fmt: skip
PCM_16 = "PCM_16"


@dataclass(frozen=True)
class Recording:
    """An audio file's content.

    Attributes:
        samples: float32 [n, channels], nominally in [-1, 1].
        rate: In Hz.
        subtype: Sample format in libsndfile's terms, as "PCM_16".
    """

    samples: NDArray[np.float32]
    rate: int
    subtype: str = PCM_16


class SignalEnhancer(Protocol):
    """What `enhance_recording` needs of `edge_se.Enhancer`."""

    sample_rate: int

    def enhance(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Enhance a whole signal [n], aligned in time."""


def load_soundfile() -> ModuleType | None:
    """The module soundfile, or None where it is not installed."""
    try:
        import soundfile
    except ModuleNotFoundError:
        return None
    except OSError:
        raise UserError(
            "soundfile finds no libsndfile on this system; install it (Debian: libsndfile1)"
        ) from None
    return soundfile


def suffixes() -> frozenset[str]:
    """Suffixes of the audio files that can be read and written here, lower case, with the dot."""
    return frozenset({".wav"} if load_soundfile() is None else _FORMATS)


def read(path: Path) -> Recording:
    """Read an audio file.

    Raises:
        UserError: There is no such file, it is no audio this installation can read, or its samples
            are not finite.
    """
    if not path.is_file():
        raise UserError(f"there is no audio file {path}")
    soundfile = load_soundfile()
    if soundfile is None:
        return _read_wave(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            samples = file.read(dtype="float32", always_2d=True)
            recording = Recording(samples, file.samplerate, file.subtype)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} can't be read as audio ({error.error_string})") from None
    if not np.isfinite(recording.samples).all():
        raise UserError(f"{path} holds NaN or infinite samples; repair it first")
    return recording


def _read_wave(path: Path) -> Recording:
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(
            f"{path} is not a plain WAV file ({error or 'it ends early'}); to read other formats, "
            f"{INSTALL_HINT}"
        ) from None
    if width != 2:
        raise UserError(f"{path} has {8 * width}-bit samples; to read it, {INSTALL_HINT}")
    whole = len(data) - len(data) % (2 * channels)
    values = np.frombuffer(data[:whole], "<i2").astype(np.int16).reshape(-1, channels)
    samples = dequantize(values, SAMPLE_STEP, 0).astype(np.float32, copy=False)
    return Recording(samples, rate)


def write(path: Path, recording: Recording) -> None:
    """Write an audio file, whole or not at all, in the format that the suffix of `path` names.

    The recording's subtype is kept where that format has it; values beyond [-1, 1] are clipped by
    integer formats.

    Raises:
        UserError: The suffix names no format this installation can write, or the format can't hold
            the recording.
    """
    soundfile = load_soundfile()
    if soundfile is None:
        _write_wave(path, recording)
        return
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UserError(f"{path} has no suffix of a known audio format; use .wav or .flac")
    name, subtype = _FORMATS[suffix], recording.subtype
    if suffix == ".opus":
        subtype = "OPUS"
    elif not soundfile.check_format(name, subtype):
        subtype = soundfile.default_subtype(name)
    samples: NDArray[np.float32 | np.integer] = recording.samples
    if subtype == PCM_16:
        # libsndfile would scale by 32767: reading and writing would not cancel.
        samples = quantize(samples, SAMPLE_STEP, 0, np.int16)
    with written_beside(path) as temporary:
        try:
            soundfile.write(str(temporary), samples, recording.rate, subtype, format=name)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{path} can't be written ({error.error_string})") from None


def _write_wave(path: Path, recording: Recording) -> None:
    if path.suffix.lower() != ".wav":
        raise UserError(f"{path} does not end in .wav; to write other formats, {INSTALL_HINT}")
    values = quantize(recording.samples, SAMPLE_STEP, 0, np.int16)
    with written_beside(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setparams((values.shape[1], 2, recording.rate, 0, "NONE", ""))
        file.writeframes(values.astype("<i2", copy=False).tobytes())


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Resample a signal [n] by a linear-phase filter, without delay; the same array if rates match.

    Raises:
        UserError: The rates differ and soxr is not installed.
    """
    if rate == new_rate:
        return samples
    try:
        import soxr
    except ModuleNotFoundError:
        raise UserError(
            f"audio at {rate} Hz has to be resampled to {new_rate} Hz; to do so, {INSTALL_HINT}"
        ) from None
    resampled: NDArray[np.float32] = soxr.resample(samples, rate, new_rate)
    return resampled


def enhance_recording(enhancer: SignalEnhancer, recording: Recording) -> Recording:
    """Enhance each channel by itself; the result has the rate, length and channels of the input.

    What lies above half the model's rate is not in the output: the model can't hear it.
    """
    output = np.zeros_like(recording.samples)
    for channel in range(recording.samples.shape[1]):
        samples = np.ascontiguousarray(recording.samples[:, channel])
        heard = resample(samples, recording.rate, enhancer.sample_rate)
        enhanced = resample(enhancer.enhance(heard), enhancer.sample_rate, recording.rate)
        length = min(len(enhanced), len(output))  # resampling there and back may round up or down
        output[:length, channel] = enhanced[:length]
    return replace(recording, samples=output)
