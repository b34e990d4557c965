"""How near a separator's file is to the float network, to the true stems, and at its seams."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.errors import UserError
from edge_se.manifest import Chunk, require_chunk
from edge_se.separator import Separator
from edge_se.signal import Signal
from edge_se.text_table import aligned
from quant.audio.clips import SkippedClip, find_clips
from quant.networks.cascaded.blocks import TIME_MULTIPLE
from quant.separation.clips import read_stereo
from quant.separation.masks import Scores, mask_snr, network_mask
from quant.separation.pipeline import windows_of

# Frames on each side of the border of two windows that count as its seam.
SEAM_FRAMES = 8
# Names of what is measured, and their headings.
MEASURES = {
    "mask_snr_db": "mask SNR",
    "accompaniment_snr_db": "accompaniment SNR",
    "vocals_snr_db": "vocals SNR",
    "vocals_sdr_db": "vocals SDR",
    "mixture_sdr_db": "mixture SDR",
    "long_pass_mask_snr_db": "long pass SNR",
    "seam_mask_snr_db": "at seams",
    "between_seams_mask_snr_db": "between seams",
    "seam_largest_error": "largest error",
}


def evaluate_separator(
    model: Separator,
    mixtures: Path,
    reference: Separator | None = None,
    vocals: Path | None = None,
    network: nn.Module | None = None,
) -> list[dict[str, float | str]]:
    """Measure a separator on a folder of mixtures.

    Args:
        model: to be measured.
        mixtures: folder of audio files.
        reference: the same network in float: SNR of masks and stems to it.
        vocals: folder of true vocals with the same names: SDR of the vocals, and of the mixture
            as it is.
        network: its trained weights: SNR of its masks in windows to those of one long pass.

    Returns:
        What was measured of each clip, and its `name`.

    Raises:
        UserError: a clip can't be used, or there is nothing to compare with.
    """
    if reference is None and vocals is None and network is None:
        raise UserError(
            "a separator is compared with something: give --reference MODEL, --clean DIR with "
            "vocals of the same names, or --checkpoint FILE"
        )
    chunk = require_chunk(model.manifest, model.model_path)
    rows: list[dict[str, float | str]] = []
    for path in find_clips(mixtures):
        samples = _read(path, model.sample_rate)
        row: dict[str, float | str] = {"name": path.name}
        found = model.separate(samples)
        if reference is not None:
            row |= _against_reference(model, reference, samples, found, chunk)
        if vocals is not None:
            row |= _against_truth(samples, found[0], vocals / path.name, model.sample_rate)
        if network is not None:
            row |= seam_scores(network, samples, model.manifest.signal, chunk)
        rows.append(row)
    return rows


def _read(path: Path, rate: int) -> np.ndarray:
    samples = read_stereo(path, rate)
    if isinstance(samples, SkippedClip):
        raise UserError(f"{samples}")
    return samples


def _against_reference(
    model: Separator,
    reference: Separator,
    samples: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    chunk: Chunk,
) -> Scores:
    wanted = reference.separate(samples)
    windows = [
        window[0, 0, 0].numpy() for window in windows_of(samples, model.manifest.signal, chunk)
    ]
    masks, wanted_masks = (np.stack([m.mask(w) for w in windows]) for m in (model, reference))
    return {
        "mask_snr_db": mask_snr(masks, wanted_masks),
        "accompaniment_snr_db": mask_snr(found[1], wanted[1]),
        "vocals_snr_db": mask_snr(found[0], wanted[0]),
    }


def _against_truth(samples: np.ndarray, found: np.ndarray, path: Path, rate: int) -> Scores:
    truth = _read(path, rate)
    if truth.shape != samples.shape:
        raise UserError(f"{path} is {len(truth)} samples long, its mixture {len(samples)}")
    return {"vocals_sdr_db": mask_snr(found, truth), "mixture_sdr_db": mask_snr(samples, truth)}


# Seams ---------------------------------------------------------------------------------------


def seam_scores(model: nn.Module, samples: np.ndarray, signal: Signal, chunk: Chunk) -> Scores:
    """How far masks made in windows are from those of one pass over the whole recording.

    The receptive field (dilated convolutions, up-sampling with aligned corners, recurrent layers)
    reaches beyond the offset, so that the two differ, most next to the borders of windows.
    """
    windows = list(windows_of(samples, signal, chunk))
    whole = whole_magnitude(windows, chunk)
    cut = np.concatenate([network_mask(model, window) for window in windows])
    long = network_mask(model, whole)[: len(cut)]
    kept = chunk.kept
    position = np.arange(len(long)) % kept
    distance = np.minimum(position + 1, kept - position)
    # The recording's own ends are no seams.
    inner = (np.arange(len(long)) >= kept // 2) & (np.arange(len(long)) < len(cut) - kept // 2)
    seam = (distance <= SEAM_FRAMES) & inner
    scores = {
        "long_pass_mask_snr_db": mask_snr(cut, long),
        "seam_largest_error": round(float(np.abs(cut - long).max()), 4),
    }
    if seam.any():
        scores |= {
            "seam_mask_snr_db": mask_snr(cut[seam], long[seam]),
            "between_seams_mask_snr_db": mask_snr(cut[~seam], long[~seam]),
        }
    return scores


def whole_magnitude(windows: Sequence[Tensor], chunk: Chunk) -> Tensor:
    """The windows joined into one [1, 1, 1, frames, bins, 2], as long as a network takes it."""
    head = windows[0][:, :, :, : chunk.offset + chunk.kept]
    middles = [w[:, :, :, chunk.offset : chunk.offset + chunk.kept] for w in windows[1:]]
    tail = windows[-1][:, :, :, chunk.offset + chunk.kept :]
    joined = torch.cat([head, *middles, tail], dim=3)
    return F.pad(joined, (0, 0, 0, 0, 0, -joined.shape[3] % TIME_MULTIPLE))


# Report --------------------------------------------------------------------------------------


def format_separation(rows: Sequence[dict[str, float | str]], per_clip: bool = True) -> str:
    """What `evaluate_separator` found as a table; dB but for the largest error of the mask."""
    names = [name for name in MEASURES if any(name in row for row in rows)]
    mean: dict[str, float | str] = {"name": f"mean of {len(rows)}"}
    for name in names:
        mean[name] = float(np.mean([row[name] for row in rows if name in row]))
    shown = [*rows, mean] if per_clip else [mean]
    lines = [["clip", *(MEASURES[name] for name in names)]]
    lines += [[str(row["name"]), *_cells(row, names)] for row in shown]
    return "\n".join(aligned(lines))


def _cells(row: dict[str, float | str], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        digits = 4 if name == "seam_largest_error" else 1
        yield f"{row[name]:.{digits}f}" if name in row else "-"
