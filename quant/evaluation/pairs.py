"""Noisy clips and the clean speech in them, paired by file name or by a `pairs.csv`."""

import contextlib
import csv
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError, some
from quant.audio.clips import SkippedClip, find_clips, read_clip

Samples = NDArray[np.float32]

# How DNS numbers its pairs, and what sets tell noisy clips from clean ones by.
_FILE_ID = re.compile(r"fileid_(\d+)", re.IGNORECASE)
_KIND = re.compile(
    r"(^|[_\-. ])(noisy|clean|mix|mixture|speech|target)(?=$|[_\-. ])", re.IGNORECASE
)


@dataclass(frozen=True)
class Pair:
    """A noisy clip and its clean speech: float32 [n] each, aligned in time.

    Attributes:
        name: What the clip is called in results.
        noisy: Samples [n].
        clean: Samples [n].
        rate: In Hz.
        snr_db: Signal-to-noise ratio it was mixed at, where known.
        noise_type: Kind of noise, where known.
        level_dbfs: Level of the noisy clip, where known.
    """

    name: str
    noisy: Samples
    clean: Samples
    rate: int
    snr_db: float | None = None
    noise_type: str | None = None
    level_dbfs: float | None = None


def load_pairs(noisy_dir: Path, clean_dir: Path, rate: int) -> tuple[Pair, ...]:
    """Reads the pairs of two folders of audio files at `rate` Hz, channels averaged.

    A noisy clip belongs to the clean clip with the same path inside its folder, whatever the
    suffix; else to the only one of the same name (VoiceBank-DEMAND), of the same name but for a
    word such as `noisy` and `clean`, or of the same number after `fileid_` (DNS).
    A `pairs.csv` beside the two folders may say otherwise, and may add what is known of a clip: its
    columns are `noisy` and `clean` (paths from the folder it lies in) and, where known,
    `snr_db`, `noise_type` and `level_dbfs`. Clean clips without a noisy one are ignored.

    Raises:
        UserError: A folder or a clean clip is missing, a clip is unusable, a pair's lengths
            differ, or `pairs.csv` can't be read or doesn't fit the folder.
    """
    noisy_dir, clean_dir = _absolute(noisy_dir), _absolute(clean_dir)
    noisy_paths = find_clips(noisy_dir)
    clean_of = _matcher(find_clips(clean_dir), clean_dir)
    rows = _read_rows(noisy_dir, clean_dir)
    lost = [path for path in rows if not path.is_file()]
    if lost and not rows.keys() >= set(noisy_paths):
        raise UserError(
            f"{noisy_dir.parent / 'pairs.csv'} has no row for some clips in {noisy_dir} but names "
            f"files that are not there ({some([path.name for path in lost])}); correct its paths, "
            "which start from the folder it lies in, or take these rows out"
        )
    found: list[tuple[Path, Path | None, dict[str, str]]] = []
    for path in noisy_paths:
        row = rows.get(path, {})
        clean = noisy_dir.parent / row["clean"] if row else clean_of(path, noisy_dir)
        found.append((path, clean, row))
    alone = [path.name for path, clean, _ in found if clean is None or not clean.is_file()]
    if alone:
        raise UserError(
            f"{len(alone)} of the {len(found)} clips in {noisy_dir} have no clean clip of the same "
            f"name, or number after fileid_, in {clean_dir} ({some(alone)}); add "
            "them, or a pairs.csv beside the two folders"
        )
    return tuple(_load_pair(n, c, noisy_dir, row, rate) for n, c, row in found if c is not None)


def _matcher(clean_paths: Sequence[Path], clean_dir: Path) -> Callable[[Path, Path], Path | None]:
    """What finds the clean clip of a noisy one, by the surest of `_KEYS` that tells one clip."""
    tables: list[dict[str, list[Path]]] = []
    for key in _KEYS:
        table = defaultdict(list)
        for path in clean_paths:
            table[key(path, clean_dir)].append(path)
        tables.append(table)

    def clean_of(path: Path, folder: Path) -> Path | None:
        for key, table in zip(_KEYS, tables, strict=True):
            name = key(path, folder)
            found = table.get(name, []) if name else []
            # Two files of one name with different suffixes: the last, as before.
            if len(found) == 1 or (found and key is _key):
                return found[-1]
        return None

    return clean_of


def _load_pair(
    noisy_path: Path, clean_path: Path, noisy_dir: Path, row: dict[str, str], rate: int
) -> Pair:
    noisy, clean = (_read(path, rate) for path in (noisy_path, clean_path))
    if noisy.shape != clean.shape:
        raise UserError(
            f"{noisy_path.name} has {len(noisy)} samples and its clean clip {len(clean)} (at "
            f"{rate} Hz); a pair must be aligned and of one length"
        )
    return Pair(
        name=_key(noisy_path, noisy_dir),
        noisy=noisy,
        clean=clean,
        rate=rate,
        snr_db=_number(row, "snr_db"),
        noise_type=row.get("noise_type") or None,
        level_dbfs=_number(row, "level_dbfs"),
    )


def _read(path: Path, rate: int) -> Samples:
    clip = read_clip(path, rate)
    if isinstance(clip, SkippedClip):
        raise UserError(f"{clip}; repair it or take it out")
    return clip.samples


def _read_rows(noisy_dir: Path, clean_dir: Path) -> dict[Path, dict[str, str]]:
    """The rows of `pairs.csv` by noisy file, where one lies beside both folders."""
    folder = noisy_dir.parent
    path = folder / "pairs.csv"
    if not path.is_file() or folder != clean_dir.parent:
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"noisy", "clean"} <= set(reader.fieldnames or ()):
                raise UserError(f"{path} needs a header with the columns noisy and clean")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} can't be read as CSV in UTF-8 ({error}); save it again") from None
    if not all(row["noisy"] and row["clean"] for row in rows):
        raise UserError(f"{path} has a row without a noisy or without a clean file; complete it")
    return {_absolute(folder / row["noisy"]): row for row in rows}


def _absolute(path: Path) -> Path:
    """Without `..`; links stay, for a clip is named as the user sees it."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve follows links)


def _number(row: dict[str, str], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise UserError(f"pairs.csv: {column} of {row['noisy']} is {text!r}, no number")


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _stem(path: Path, folder: Path) -> str:
    return path.stem


def _without_kind(path: Path, folder: Path) -> str:
    return _KIND.sub("", path.stem).strip("_-. ").lower()


def _file_id(path: Path, folder: Path) -> str:
    found = _FILE_ID.search(path.stem)
    return found.group(1) if found else ""


# What may name a clip and its clean one alike, the surest first.
_KEYS = (_key, _stem, _without_kind, _file_id)
