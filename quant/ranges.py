"""Ranges of tensors, from calibration statistics, and the readable file that holds them.

Rare frames reach values hundreds of times the usual ones; a range that covers them leaves no
resolution for all others. So ranges are percentiles, per kind of tensor, and what lies beyond is
saturated.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_se.errors import UserError
from edge_se.files import written_beside
from quant.calibration import Statistics
from quant.graph.graph import Range


@dataclass(frozen=True)
class RangeRule:
    """Range keys that match `pattern` cover this percentile of their values, on each side."""

    pattern: str
    percentile: float


DEFAULT_PERCENTILE = 99.9
# The first rule that matches counts.
GTCRN_RULES = (
    RangeRule(r"^features$", 99.8),
    RangeRule(r"^merge\.", 99.97),
    RangeRule(r"^encoder\.0\.", 99.5),
    RangeRule(r"attention\.(squared|energy)$", 99.99),
    RangeRule(r"attention\.", 99.97),
    RangeRule(r"^decoder\.3\.convolution$", 99.97),
    RangeRule(r"^decoder\.4\.skip$", 99.5),
    RangeRule(r"^decoder\.4\.convolution$", 99.0),
)


def extreme_ranges(statistics: Statistics) -> dict[str, Range]:
    """The smallest and largest value of every tensor."""
    return dict(statistics.extremes)


def percentile_ranges(
    statistics: Statistics,
    rules: Sequence[RangeRule] = (),
    percentile: float = DEFAULT_PERCENTILE,
) -> dict[str, Range]:
    """The range of every tensor between two percentiles of its values.

    Args:
        statistics: of the calibration.
        rules: percentiles of tensors that want another one; the first match counts.
        percentile: upper percentile of all others; the lower one is 100 minus it.
    """
    ranges = {}
    for key, samples in statistics.samples.items():
        chosen = next((r.percentile for r in rules if re.search(r.pattern, key)), percentile)
        low, high = (_percentile(samples, p) for p in (100 - chosen, chosen))
        ranges[key] = (min(low, 0.0) if samples[0] < 0 else 0.0, max(high, 0.0))
    return ranges


def _percentile(ordered: np.ndarray, percentile: float) -> float:
    position = percentile / 100 * (len(ordered) - 1)
    return float(ordered[round(position)])


def write_ranges(path: Path, ranges: Mapping[str, Range]) -> None:
    """Write ranges as JSON, one tensor a line, so that they can be read and edited."""
    lines = [f"  {json.dumps(k)}: [{low:.9g}, {high:.9g}]" for k, (low, high) in ranges.items()]
    with written_beside(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_ranges(path: Path) -> dict[str, Range]:
    """Read ranges that `write_ranges` wrote.

    Raises:
        UserError: the file is missing, is not JSON, or has a range that is none.
    """
    try:
        content = json.loads(path.read_text())
        ranges = {str(key): (float(low), float(high)) for key, (low, high) in content.items()}
    except OSError as error:
        raise UserError(f"cannot read ranges {path}: {error.strerror}; check the path") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f'{path} holds no ranges ({error}); expected {{"tensor": [low, high], ...}}'
        ) from error
    wrong = [
        key
        for key, (low, high) in ranges.items()
        if not low <= 0 <= high or low == high or not math.isfinite(high - low)
    ]
    if wrong:
        raise UserError(f"{path} gives {wrong[0]} no finite range that holds zero; correct it")
    return ranges
