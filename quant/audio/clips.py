"""Audio clips from a user's folders: any sample rate and channel count in, one rate and mono out.

A clip that cannot be used never stops the rest: it is skipped and returned by name with the reason.
A folder that cannot be used, or holds too few usable clips, raises `UserError`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from edge_se.errors import UserError

# A clip whose loudest sample stays under -80 dBFS holds nothing to learn or calibrate from.
SILENCE_PEAK = 1e-4
MINIMUM_SECONDS = 0.5
KINDS = ("clean", "noise", "noisy")  # of calibration clips
# A recording longer than this is cut into pieces, of which some are taken, spread over it; shorter
# ones are cut where there are too few clips.
LONGEST_SECONDS, PIECE_SECONDS, SHORTEST_PIECE_SECONDS, MOST_PIECES = 30.0, 10.0, 1.0, 60
HELD_OUT_EVERY = 4  # one clip in so many is held out


@dataclass(frozen=True)
class Clip:
    """One audio file as mono `float32` samples of shape [n] at `rate` Hz, full scale 1.0."""

    path: Path
    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class SkippedClip:
    """An audio file that was left out, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class ClipFolder:
    """The usable clips of a folder, sorted by path, and those skipped."""

    clips: tuple[Clip, ...]
    skipped: tuple[SkippedClip, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of all usable clips in seconds."""
        return sum(clip.seconds for clip in self.clips)


@dataclass(frozen=True)
class CalibrationClips:
    """A user's calibration clips: clean speech and noise to be mixed, or already noisy clips."""

    clean: tuple[Clip, ...] = ()
    noise: tuple[Clip, ...] = ()
    noisy: tuple[Clip, ...] = ()
    skipped: tuple[SkippedClip, ...] = ()

    @property
    def rate(self) -> int:
        """Sample rate of all of them, in Hz."""
        return (*self.clean, *self.noisy)[0].rate


def find_clips(folder: Path, patterns: Sequence[str] = ("*",)) -> tuple[Path, ...]:
    """Return the audio files in a folder or below whose name matches one of the glob patterns.

    Args:
        folder: folder to look in.
        patterns: globs on the file name, such as `train_*`.

    Returns:
        Paths sorted by their place in the folder, so that the order is the same on every machine.

    Raises:
        UserError: no such folder, or no matching audio file in it.
    """
    from edge_se.audio import suffixes

    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a folder of audio files.")
    known = suffixes()
    # Hidden files, such as macOS's ._name.wav, are no recordings.
    audio = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in known and not path.name.startswith(".") and path.is_file()
    ]
    if not audio:
        raise UserError(
            f"{folder} holds no audio file that can be read here ({' '.join(sorted(known))}); "
            "convert others with ffmpeg."
        )
    matching = [path for path in audio if matches(path, patterns)]
    if not matching:
        wanted = ", ".join(patterns)
        raise UserError(f"none of the {len(audio)} audio files in {folder} is named {wanted}.")
    return tuple(sorted(matching, key=lambda path: path.relative_to(folder).as_posix()))


def matches(path: Path, patterns: Sequence[str]) -> bool:
    """Tell whether the file's name matches one of the glob patterns."""
    return any(fnmatch(path.name, pattern) for pattern in patterns)


def read_clip(path: Path, rate: int) -> Clip | SkippedClip:
    """Read one audio file as mono at `rate` Hz; channels are averaged.

    Returns:
        The clip, or a `SkippedClip` if it is unreadable, damaged, in another unit, silent or too
        short.
    """
    from edge_se.audio import read
    from edge_se.resampling import resample

    try:
        recording = read(path)
    except UserError as error:
        return SkippedClip(path, str(error).removeprefix(f"{path} "))
    mono = recording.samples.mean(axis=1)
    seconds = len(mono) / recording.rate
    if seconds < MINIMUM_SECONDS:
        return SkippedClip(path, f"too short: {seconds:.2f} s, at least {MINIMUM_SECONDS:g} s")
    if np.abs(mono).max() < SILENCE_PEAK:
        return SkippedClip(path, "silent: no sample above -80 dBFS")
    if np.ptp(mono) < 2 * SILENCE_PEAK:
        return SkippedClip(path, "silent but for a constant")
    mono = resample(mono, recording.rate, rate)
    return Clip(path, np.ascontiguousarray(mono, dtype=np.float32), rate)


def iterate_clips(paths: Sequence[Path], rate: int) -> Iterator[Clip | SkippedClip]:
    """Read clips one at a time, in order, so that a caller may keep them in another form."""
    for path in paths:
        yield read_clip(path, rate)


def read_clips(folder: Path, rate: int, minimum_clips: int = 1) -> ClipFolder:
    """Read the clips in a folder or below into memory.

    Args:
        folder: folder of audio files.
        rate: in Hz, that they are resampled to.
        minimum_clips: how many usable clips there must be.

    Raises:
        UserError: no such folder, no audio in it, or fewer usable clips than `minimum_clips`.
    """
    results = list(iterate_clips(find_clips(folder), rate))
    clips = cut_up([r for r in results if isinstance(r, Clip)], minimum_clips)
    skipped = tuple(result for result in results if isinstance(result, SkippedClip))
    require_clips(folder, len(clips), skipped, minimum_clips)
    return ClipFolder(clips, skipped)


def cut_up(clips: Sequence[Clip], minimum_clips: int) -> tuple[Clip, ...]:
    """Cut long clips into pieces, and shorter ones too where there are too few of them."""
    piece = PIECE_SECONDS
    if len(clips) < minimum_clips:
        piece = min(piece, sum(clip.seconds for clip in clips) / (minimum_clips + 1))
    limit = LONGEST_SECONDS if len(clips) >= minimum_clips else 2 * piece
    if piece < SHORTEST_PIECE_SECONDS:
        return tuple(clips)
    found: list[Clip] = []
    for clip in clips:
        found += _pieces(clip, round(piece * clip.rate)) if clip.seconds >= limit else [clip]
    return tuple(found)


def _pieces(clip: Clip, length: int) -> list[Clip]:
    count = len(clip.samples) // length
    taken = np.unique(np.linspace(0, count - 1, min(count, MOST_PIECES)).round().astype(int))
    parts = (clip.samples[start * length : (start + 1) * length] for start in taken)
    return [replace(clip, samples=part) for part in parts if np.abs(part).max() >= SILENCE_PEAK]


def require_clips(
    folder: Path, usable: int, skipped: Sequence[SkippedClip], minimum_clips: int
) -> None:
    """Raise `UserError`, naming the skipped clips, if a folder has too few usable ones."""
    if usable >= minimum_clips:
        return
    noun = "clip" if usable == 1 else "clips"
    message = f"{folder} has {usable} usable {noun}, at least {minimum_clips} needed"
    if skipped:
        named = "; ".join(f"{clip.path.name}: {clip.reason}" for clip in skipped[:3])
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        message += f" (skipped: {named}{more})"
    raise UserError(message + ".")


def read_calibration_clips(folder: Path, rate: int, minimum_clips: int = 4) -> CalibrationClips:
    """Read a user's calibration clips from whichever of three layouts the folder has.

    - `clean/` and `noise/`: clean speech and noise, which calibration mixes itself;
    - `noisy/`: recordings that are already noisy;
    - audio files in the folder or below: already noisy too.

    Names of these folders may be in any case, and go on, as VoiceBank's `clean_trainset_28spk_wav`
    does. Long recordings are cut up.

    Args:
        folder: the folder with one of these layouts.
        rate: in Hz, that clips are resampled to.
        minimum_clips: how many usable clean (or noisy) clips there must be; of noise, one.

    Raises:
        UserError: none of the layouts, or too few usable clips.
    """
    clean_folder, noise_folder, noisy_folder = calibration_folders(folder)
    if clean_folder and noise_folder:
        clean = read_clips(clean_folder, rate, minimum_clips=minimum_clips)
        noise = read_clips(noise_folder, rate, minimum_clips=1)
        return CalibrationClips(
            clean=clean.clips, noise=noise.clips, skipped=clean.skipped + noise.skipped
        )
    noisy = read_clips(noisy_folder, rate, minimum_clips=minimum_clips)
    return CalibrationClips(noisy=noisy.clips, skipped=noisy.skipped)


def calibration_folders(folder: Path) -> tuple[Path | None, Path | None, Path]:
    """Where a folder of calibration clips holds clean, noise and noisy ones, as described above.

    Returns:
        Either both of the first two, or neither; the third is then the one to read.

    Raises:
        UserError: none of the layouts.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a folder of calibration clips.")
    folder = _unpacked(folder)
    clean, noise, noisy = (_subfolder(folder, kind) for kind in KINDS)
    if clean and noise:
        return clean, noise, noisy or folder
    for present, missing in ((clean, "noise"), (noise, "clean")):
        if present and not noisy:
            raise UserError(
                f"{folder} has a folder {present.name} but none called {missing}; clean speech"
                " is mixed with noise, so both are needed."
            )
    return None, None, noisy or folder


def _unpacked(folder: Path) -> Path:
    """The folder, or what it holds where that is one folder and nothing else, as archives give."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    single = len(entries) == 1 and entries[0].is_dir() and not _subfolder(folder, *KINDS)
    return entries[0] if single else folder


def _subfolder(folder: Path, *kinds: str) -> Path | None:
    """The folder in `folder` named after a kind of clips, maybe with more; training ones first."""
    found = [
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and re.split(r"[\W_]", entry.name.lower())[0] in kinds
    ]
    return min(found, key=lambda path: ("train" not in path.name.lower(), path.name), default=None)


def enough_to_hold_out(clips: CalibrationClips) -> bool:
    """Whether there are enough clips of each kind that there is any of."""
    return not _too_few(clips)


def _too_few(clips: CalibrationClips) -> list[str]:
    """Kinds of which there are clips, but not enough to hold one out."""
    return [kind for kind in KINDS if 0 < len(getattr(clips, kind)) < HELD_OUT_EVERY]


def hold_out(clips: CalibrationClips) -> tuple[CalibrationClips, CalibrationClips]:
    """Clips to fine-tune on, and one in `HELD_OUT_EVERY` of each kind to validate with.

    Raises:
        UserError: there are too few.
    """
    if kinds := _too_few(clips):
        raise UserError(
            f"recovery holds out one clip in {HELD_OUT_EVERY}, and there are only "
            f"{len(getattr(clips, kinds[0]))} {kinds[0]} clips; give it more"
        )
    parts: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for kind in KINDS:
        found = getattr(clips, kind)
        parts[1][kind] = found[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
        parts[0][kind] = tuple(
            clip for i, clip in enumerate(found) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1
        )
    return CalibrationClips(**parts[0]), CalibrationClips(**parts[1])
