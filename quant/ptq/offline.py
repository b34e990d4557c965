"""Whole clips through a graph: what the frame loop would make of them, without a file."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_se.signal import Signal
from quant.audio.frames import apply_mask, heard, synthesize
from quant.graph.execute import Hook, run_sequence
from quant.graph.graph import Graph

CLIPS_AT_ONCE = 8


class Enhanced(NamedTuple):
    """What came of clips.

    Attributes:
        mask: [clips, frames, rows, bins].
        spectra: enhanced, complex [clips, frames, bins].
        samples: enhanced, [clips, n], aligned with the clips.
    """

    mask: Tensor
    spectra: Tensor
    samples: Tensor


@torch.no_grad()
def enhance_offline(
    graph: Graph, signal: Signal, samples: Tensor, hook: Hook | None = None
) -> Enhanced:
    """Enhance clips by a graph.

    Args:
        graph: the network.
        signal: what it hears.
        samples: of the clips, [clips, n].
        hook: sees, and may replace, its values; usually a `FakeQuantizer`.
    """
    # A network that looks ahead gives a frame's mask that many frames later; beyond the end there
    # is silence, as in the frame loop.
    spectra, features = heard(F.pad(samples, (0, graph.lookahead * signal.hop)), signal)
    masks = []
    for inputs in features.split(CLIPS_AT_ONCE):
        named = {graph.inputs[0].name: inputs}
        (mask,) = run_sequence(graph, named, hook) if hook else run_sequence(graph, named)
        masks.append(mask)
    mask = torch.cat(masks)[:, graph.lookahead :]
    enhanced = apply_mask(spectra[:, : mask.shape[1]], mask, signal)
    return Enhanced(mask, enhanced, synthesize(enhanced, samples.shape[1], signal))
