"""Formats of audio files: which can be read and written here, and how each holds samples.

With the extra `audio` (soundfile) any format of libsndfile is handled; without it, 16-bit WAV.
"""

import io
from pathlib import Path
from types import ModuleType

import numpy as np

from edge_se.errors import UserError

INSTALL_HINT = 'pip install "edge-se[audio]"'
PCM_16 = "PCM_16"
# libsndfile's format by suffix.
FORMATS = {
    ".wav": "WAV", ".wave": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG",
    ".mp3": "MP3", ".aif": "AIFF", ".aiff": "AIFF", ".aifc": "AIFF", ".au": "AU", ".snd": "AU",
    ".caf": "CAF", ".w64": "W64", ".rf64": "RF64", ".sph": "NIST",
}  # fmt: skip
# Suffixes of audio that libsndfile does not read.
_COMPRESSED = frozenset({
    ".3ga", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".awb", ".dff", ".dsf", ".dts", ".m4a", ".m4b",
    ".mka", ".mp4", ".mpc", ".oma", ".ra", ".rm", ".spx", ".tta", ".webm", ".wma", ".wv",
})  # fmt: skip
_HEADERLESS = frozenset({".raw", ".pcm", ".gsm", ".vox", ".ul", ".al", ".s16", ".f32"})
# Bits of a sample in the subtypes that hold any number of samples. All others round the number up
# to whole blocks, and ALAC of 20 and 32 bits comes out of libsndfile 1.2 as noise. u-law has 14
# bits; A-law's values lie between those of 13 bits.
BITS = {
    **{"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ULAW": 14, "ALAW": 16},
    **{"ALAC_16": 16, "ALAC_24": 24},
}
# Codings that are kept in a format of their own alone: libsndfile claims to write MP3 into WAV.
_COMPRESSING = {"VORBIS": "OGG", "OPUS": "OGG", "MPEG_LAYER_III": "MP3"}
_REAL = frozenset({"FLOAT", "DOUBLE", *_COMPRESSING})
_FINER_THAN_16 = frozenset({"PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"})
# Beyond it libvorbis refuses, and libsndfile crashes then.
_VORBIS_RATES = range(1000, 200_001)


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
    return frozenset({".wav"} if load_soundfile() is None else FORMATS)


def advice(path: Path) -> str | None:
    """How to make a file readable whose suffix says that it is audio but can't be read here.

    None for what can be read, and for what is no audio.
    """
    suffix = path.suffix.lower()
    if suffix in suffixes():
        return None
    if suffix in FORMATS:
        return f"{suffix} files can't be read in this installation; {INSTALL_HINT}"
    if suffix in _HEADERLESS:
        return (
            f"{suffix} files have no header that says how to read them; convert it, as in: ffmpeg "
            f"-f s16le -ar 16000 -ac 1 -i {path.name} {path.stem}.wav"
        )
    if suffix in _COMPRESSED:
        return (
            f"{suffix} files can't be read here; convert it: ffmpeg -i {path.name} {path.stem}.wav"
        )
    return None


def format_of(path: Path) -> str:
    """Libsndfile's name of the format that a file to be written has by its suffix.

    Raises:
        UserError: The suffix names no format that this installation can write.
    """
    suffix = path.suffix.lower()
    if load_soundfile() is None and suffix != ".wav":
        raise UserError(f"{path} does not end in .wav; to write other formats, {INSTALL_HINT}")
    if suffix not in FORMATS:
        raise UserError(f"{path} has no suffix of a known audio format; use .wav or .flac")
    return FORMATS[suffix]


def choose_subtype(name: str, subtype: str, suffix: str = "") -> str:
    """How a format is to hold samples that a file of `subtype` held, in libsndfile's terms.

    The same way, where the format has it and can hold any number of samples; otherwise as many
    bits, or the format's own choice.
    """
    soundfile = load_soundfile()
    if soundfile is None:
        return PCM_16
    if suffix.lower() == ".opus":
        return "OPUS"
    # libsndfile counts the byte that AIFF pads odd sizes with as a sample.
    padded = name == "AIFF" and subtype in {"PCM_S8", "PCM_U8", "ULAW", "ALAW"}
    known = subtype in _REAL or (subtype in BITS and not padded)
    if known and can_hold(name, subtype):
        return subtype
    if subtype in _FINER_THAN_16:
        for finer in ("ALAC_24", "PCM_24") if subtype.startswith("ALAC") else ("PCM_24",):
            if soundfile.check_format(name, finer):
                return finer
    chosen: str = soundfile.default_subtype(name)
    return chosen


def can_hold(name: str, subtype: str) -> bool:
    """Whether a format can hold samples in this way, with the extra `audio`."""
    soundfile = load_soundfile()
    own = _COMPRESSING.get(subtype, name) == name
    return soundfile is not None and own and soundfile.check_format(name, subtype)


def require_holds(path: Path, name: str, subtype: str, rate: int, channels: int) -> None:
    """Try one sample of silence in memory, so that no work is done for a file that can't be.

    Raises:
        UserError: The format can't hold this rate or number of channels.
    """
    soundfile = load_soundfile()
    what = f"{channels} channel{'s' * (channels > 1)} at {rate} Hz"
    if soundfile is None:
        return
    complaint = ""
    if subtype == "VORBIS" and rate not in _VORBIS_RATES:
        complaint = "its rates end at 200,000 Hz"
    else:
        trial = io.BytesIO()
        try:
            with soundfile.SoundFile(trial, "w", rate, channels, subtype, format=name) as file:
                file.write(np.zeros((1, channels), np.float32))
            trial.seek(0)
            with soundfile.SoundFile(trial):
                pass
        except soundfile.LibsndfileError as error:
            complaint = error.error_string.removeprefix("Error : ").rstrip(".")
    if complaint:
        raise UserError(
            f"{path} can't be written: {name} as {subtype} does not hold {what} ({complaint}); "
            "use .wav"
        )
