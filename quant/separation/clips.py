"""Stereo mixtures to calibrate and judge a separator with, at its own rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_se.audio import StereoFile
from edge_se.errors import UserError
from quant.audio.clips import (
    SILENCE_PEAK,
    SkippedClip,
    calibration_folders,
    find_clips,
    require_clips,
)
from quant.audio.mixing import calibration_mixtures

MINIMUM_SECONDS = 1.0
# Of a folder, whatever its size, so many files are read, and so much from the middle of each.
MOST_CLIPS = 24
EXCERPT_SECONDS = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class StereoClips:
    """Mixtures, float32 [n, 2] each at `rate`, and the files that could not be used."""

    mixtures: tuple[np.ndarray, ...]
    rate: int
    skipped: tuple[SkippedClip, ...] = ()


def read_stereo(path: Path, rate: int) -> np.ndarray | SkippedClip:
    """An audio file as float32 [n, 2] at `rate`, both channels alike if it is mono.

    Returns:
        The samples, or a `SkippedClip` if it is unreadable, silent or too short.
    """
    try:
        with StereoFile(path) as file:
            samples = np.concatenate(list(file.blocks(rate)))
    except UserError as error:
        return SkippedClip(path, str(error))
    if len(samples) < MINIMUM_SECONDS * rate:
        return SkippedClip(path, f"too short: {len(samples) / rate:.2f} s")
    if np.abs(samples).max() < SILENCE_PEAK:
        return SkippedClip(path, "silent: no sample above -80 dBFS")
    return samples


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly taken, in their order."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def read_mixtures(folder: Path, rate: int, seed: int = 0) -> StereoClips:
    """Read a folder's mixtures; its layouts are those of `read_calibration_clips`.

    At most `MOST_CLIPS` files of each kind are read, evenly taken, and of long ones the middle.
    Where the folder holds `clean/` and `noise/` (vocals and accompaniment), each clip of the former
    is mixed with a random part of one of the latter.

    Raises:
        UserError: the folder can't be used, or no clip in it can.
    """
    clean, noise, noisy = calibration_folders(folder)
    if clean and noise:
        (vocals, skipped), (music, more) = (_read_folder(part, rate) for part in (clean, noise))
        # Left and right lie side by side, so that both have the same gain.
        mixed = calibration_mixtures(
            [clip.reshape(-1) for clip in vocals], [clip.reshape(-1) for clip in music], seed
        )
        stereo = tuple(mixture.noisy.reshape(-1, 2) for mixture in mixed)
        return StereoClips(stereo, rate, (*skipped, *more))
    mixtures, skipped = _read_folder(noisy, rate)
    return StereoClips(tuple(mixtures), rate, tuple(skipped))


def _read_folder(folder: Path, rate: int) -> tuple[list[np.ndarray], Sequence[SkippedClip]]:
    results = [
        _excerpt(read_stereo(path, rate), rate) for path in spread(find_clips(folder), MOST_CLIPS)
    ]
    usable = [result for result in results if isinstance(result, np.ndarray)]
    skipped = [result for result in results if isinstance(result, SkippedClip)]
    require_clips(folder, len(usable), skipped, 1)
    return usable, skipped


def _excerpt(samples: np.ndarray | SkippedClip, rate: int) -> np.ndarray | SkippedClip:
    length = round(EXCERPT_SECONDS * rate)
    if isinstance(samples, SkippedClip) or len(samples) <= length:
        return samples
    first = (len(samples) - length) // 2
    return samples[first : first + length].copy()  # a view would keep the rest in memory
