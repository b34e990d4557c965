"""One window of each separator, described as a graph, and what surrounds it on the host."""

from collections.abc import Callable
from typing import cast

from torch import nn

from edge_se.errors import UserError
from quant.graph.graph import Graph
from quant.networks.cascaded.aspp_window import describe_cascaded_aspp
from quant.networks.cascaded.blocks import TIME_MULTIPLE
from quant.networks.cascaded.lstm_window import describe_cascaded_lstm

WINDOWS: dict[str, Callable[..., Graph]] = {
    "cascaded_aspp": describe_cascaded_aspp,
    "cascaded_lstm": describe_cascaded_lstm,
}


def describe_window(architecture: str, model: nn.Module, frames: int) -> Graph:
    """Describe one window of a trained separator: `predict_mask` over `frames` frames.

    The input, `features`, is [1, frames, n_fft / 2 + 1, 2]: magnitudes of both channels, the
    recording's largest being 1. The output, the mask of the accompaniment, is
    [1, frames - 2 * offset, n_fft / 2 + 1, 2].

    Raises:
        UserError: the architecture is no separator, or no window is that long.
    """
    if architecture not in WINDOWS:
        raise UserError(
            f"architecture {architecture!r} is no separator; "
            f"those that are: {', '.join(sorted(WINDOWS))}"
        )
    offset = cast(int, model.offset)
    if frames % TIME_MULTIPLE or frames <= 2 * offset:
        raise UserError(
            f"a window of {frames} frames does not fit {architecture}: it has to be a multiple of "
            f"{TIME_MULTIPLE} above {2 * offset}, twice the offset that is cropped"
        )
    return WINDOWS[architecture](model, frames)
