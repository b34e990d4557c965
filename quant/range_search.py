"""Search of ranges: a percentile per group of tensors, judged by what comes out of the network.

How wide a tensor's range should be can't be told from its values alone: rare frames need the
width, all others the resolution, and what an error costs depends on what follows. So the network
runs with 8-bit values simulated, and a group's percentile moves up or down as long as the enhanced
spectrum gets nearer to the float network's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quant.calibration import Statistics
from quant.frames import apply_mask, heard
from quant.graph.encoding import Chooser, Precision, assign_encodings
from quant.graph.execute import Hook, run_sequence
from quant.graph.graph import Graph, Range
from quant.graph.simulate import FakeQuantizer
from quant.ranges import percentile_ranges

LADDER = (99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.995, 100.0)
START = 99.95
# A step has to gain this much, or it fits the clips of the search only.
WORTH_DB = 0.05
COMPRESSION = 0.3
# Share of phase-aware error; the rest is of magnitudes alone (as in the training loss).
COMPLEX_SHARE = 0.3

_BLOCKS = [f"encoder.{index}" for index in (2, 3, 4)] + [f"decoder.{index}" for index in (0, 1, 2)]
# From the output to the input: late errors are cheap to find and don't hide early ones.
GTCRN_GROUPS: tuple[str, ...] = (
    r"^features$",
    r"^merge\.",
    r"^encoder\.0\.",
    r"^encoder\.1\.",
    *(
        rf"^{re.escape(block)}\.{part}"
        for block in _BLOCKS
        for part in (
            r"attention\.(squared|energy)$",
            r"attention\.(gru\.|gate_input)",
            r"(point|depth)",
            r"(skip|shuffle|attention\.gated)",
        )
    ),
    *(rf"^{path}\.{part}" for path in ("dpgrnn1", "dpgrnn2") for part in ("intra", "inter")),
    r"^decoder\.3\.",
    r"^decoder\.4\.skip",
    r"^decoder\.4\.",
)


@dataclass(frozen=True)
class Scene:
    """Clips to judge by: their spectra [clips, frames, 257] and the network's input."""

    spectra: Tensor
    inputs: Tensor

    @staticmethod
    def of(clips: Sequence[np.ndarray], level_dbfs: float | None) -> "Scene":
        """Clips (float32 [n], equally long) as the network hears them."""
        return Scene(*heard(torch.from_numpy(np.stack(clips)), level_dbfs))

    def enhance(self, graph: Graph, hook: Hook | None = None) -> Tensor:
        """Enhanced spectra [clips, frames, 257]."""
        inputs = {"features": self.inputs}
        (mask,) = run_sequence(graph, inputs, hook) if hook else run_sequence(graph, inputs)
        return apply_mask(self.spectra, mask, graph.lookahead)


def compressed_snr(spectra: Tensor, reference: Tensor) -> Tensor:
    """SNR [clips] in dB of spectra [clips, frames, bins] to a reference's, both compressed.

    Compression by the power 0.3 makes soft sounds count beside loud ones, as ears do.
    """
    magnitude, wanted = (x.abs().clamp_min(1e-6) for x in (spectra, reference))
    power = COMPRESSION - 1
    error = (spectra * magnitude**power - reference * wanted**power).abs().square().mean((1, 2))
    difference = (magnitude**COMPRESSION - wanted**COMPRESSION).square().mean((1, 2))
    noise = COMPLEX_SHARE * error + (1 - COMPLEX_SHARE) * difference
    return 10 * torch.log10((wanted ** (2 * COMPRESSION)).mean((1, 2)) / noise.clamp_min(1e-20))


@torch.no_grad()
def search_ranges(
    graph: Graph,
    choose: Chooser,
    statistics: Statistics,
    scene: Scene,
    reference: Tensor,
    signals: Precision,
    groups: Sequence[str] = GTCRN_GROUPS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Range]:
    """Find a percentile for each group of tensors.

    Args:
        graph: the frame, biases corrected for rounded weights.
        choose: precision of each operator.
        statistics: of the graph's calibration.
        scene: clips to judge by.
        reference: the float network's enhanced spectra of the scene.
        signals: precision of the input signals.
        groups: patterns of range keys, a group each; a key belongs to the first that matches.
        progress: called with the number of groups done and their total.
    """
    ladder = [percentile_ranges(statistics, (), percentile) for percentile in LADDER]
    start = LADDER.index(START)
    ranges: dict[str, Range] = dict(ladder[start])

    def score(candidate: Mapping[str, Range]) -> float:
        hook = FakeQuantizer(graph, assign_encodings(graph, choose, candidate, signals), choose)
        return float(compressed_snr(scene.enhance(graph, hook), reference).mean())

    best = score(ranges)
    members = _members(groups, ranges)
    for done, keys in enumerate(members):
        for direction in (1, -1):
            step, moved = start + direction, False
            while 0 <= step < len(ladder):
                candidate = ranges | {key: ladder[step][key] for key in keys}
                reached = score(candidate)
                if reached < best + WORTH_DB:
                    break
                best, ranges, moved = reached, candidate, True
                step += direction
            if moved:
                break
        progress(done + 1, len(members))
    return ranges


def _members(groups: Sequence[str], keys: Mapping[str, Range]) -> list[list[str]]:
    """Keys of each group that has any."""
    found: dict[str, list[str]] = {group: [] for group in groups}
    for key in keys:
        group = next((group for group in groups if re.search(group, key)), None)
        if group is not None:
            found[group].append(key)
    return [members for members in found.values() if members]
