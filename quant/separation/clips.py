"""Stereo mixtures to calibrate and judge a separator with, at its own rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_se.audio_blocks import StereoFile
from edge_se.errors import UserError
from quant.clips import SILENCE_PEAK, SkippedClip, find_clips, require_clips
from quant.mixing import calibration_mixtures

MINIMUM_SECONDS = 1.0


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
        samples = np.concatenate(list(StereoFile(path).blocks(rate)))
    except UserError as error:
        return SkippedClip(path, str(error))
    if len(samples) < MINIMUM_SECONDS * rate:
        return SkippedClip(path, f"too short: {len(samples) / rate:.2f} s")
    if np.abs(samples).max() < SILENCE_PEAK:
        return SkippedClip(path, "silent: no sample above -80 dBFS")
    return samples


def read_mixtures(folder: Path, rate: int, seed: int = 0) -> StereoClips:
    """Read a folder's mixtures; its layouts are those of `quant.clips.read_calibration_clips`.

    Where it holds `clean/` and `noise/` (vocals and accompaniment), each clip of the former is
    mixed with a random part of one of the latter.

    Raises:
        UserError: the folder can't be used, or no clip in it can.
    """
    parts = [folder / "clean", folder / "noise"]
    if all(part.is_dir() for part in parts):
        (vocals, skipped), (music, more) = (_read_folder(part, rate) for part in parts)
        # Left and right lie side by side, so that both have the same gain.
        mixed = calibration_mixtures(
            [clip.reshape(-1) for clip in vocals], [clip.reshape(-1) for clip in music], seed
        )
        stereo = tuple(mixture.noisy.reshape(-1, 2) for mixture in mixed)
        return StereoClips(stereo, rate, (*skipped, *more))
    noisy = folder / "noisy"
    mixtures, skipped = _read_folder(noisy if noisy.is_dir() else folder, rate)
    return StereoClips(tuple(mixtures), rate, tuple(skipped))


def _read_folder(folder: Path, rate: int) -> tuple[list[np.ndarray], Sequence[SkippedClip]]:
    results = [read_stereo(path, rate) for path in find_clips(folder)]
    usable = [result for result in results if isinstance(result, np.ndarray)]
    skipped = [result for result in results if isinstance(result, SkippedClip)]
    require_clips(folder, len(usable), skipped, 1)
    return usable, skipped
