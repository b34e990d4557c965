"""How near a separator's masks are to those of its float network."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from edge_se.engines.window import TfliteWindow
from edge_se.errors import UserError
from quant.evaluation.metrics import MetricError, snr

Scores = dict[str, float]


@torch.no_grad()
def network_mask(model: nn.Module, window: Tensor) -> np.ndarray:
    """The network's mask of a window [1, 1, 1, frames, bins, 2]: float32 [kept, bins, 2]."""
    magnitude = window[0, 0].permute(0, 3, 2, 1)
    predict = cast(Callable[[Tensor], Tensor], model.predict_mask)
    return predict(magnitude)[0].permute(2, 1, 0).numpy()


def mask_quality(path: Path, model: nn.Module, windows: Sequence[Tensor]) -> Scores:
    """How near a file's masks are to the float network's, over some windows."""
    file = TfliteWindow(path)
    found = np.stack([file.run(window[0, 0, 0].numpy()) for window in windows])
    wanted = np.stack([network_mask(model, window) for window in windows])
    return {
        "mask_snr_db": mask_snr(found, wanted),
        "mask_largest_error": round(float(np.abs(found - wanted).max()), 4),
    }


def mask_snr(found: np.ndarray, wanted: np.ndarray) -> float:
    """SNR in dB, to two digits after the point; raises UserError where it has no value."""
    try:
        return round(snr(found.ravel(), wanted.ravel()), 2)
    except MetricError as error:
        raise UserError(f"a clip can't be judged: {error}") from None
