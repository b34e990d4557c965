"""Ranges of tensors, from calibration statistics, and the readable file that holds them.

Rare frames reach values hundreds of times the usual ones; a range that covers them leaves no
resolution for all others. So ranges are percentiles, per kind of tensor, and what lies beyond is
saturated.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_se import strict_json
from edge_se.errors import UserError, reason
from edge_se.files import read_text, write_whole
from quant.graph.encoding import Precision, encode_range
from quant.graph.graph import Graph, Range, Value
from quant.graph.range_rules import RangeRule
from quant.ptq.calibration import Statistics

DEFAULT_PERCENTILE = 99.9
RANGE_DIGITS = 6
ERROR_SAMPLES = 2000
ERROR_ROUNDS = 2
SHRINKING = 0.97 ** np.arange(1, 200)


def extreme_ranges(statistics: Statistics) -> dict[str, Range]:
    """The smallest and largest value of every tensor."""
    return {key: _rounded(low, high) for key, (low, high) in statistics.extremes.items()}


def percentile_ranges(
    statistics: Statistics,
    rules: Sequence[RangeRule] = (),
    percentile: float = DEFAULT_PERCENTILE,
) -> dict[str, Range]:
    """The range of every tensor between two percentiles of its values.

    Args:
        statistics: of the calibration; where nothing saturated was observed, its samples count.
        rules: percentiles of tensors that want another one; the first match counts.
        percentile: upper percentile of all others; the lower one is 100 minus it.
    """
    ranges = {}
    otherwise = RangeRule("", percentile)
    for key, samples in statistics.samples.items():
        rule = next((rule for rule in rules if re.search(rule.pattern, key)), otherwise)
        if rule.saturated:
            samples = statistics.saturated.get(key, samples)
        low, high = (_percentile(samples, p) for p in (100 - rule.percentile, rule.percentile))
        ranges[key] = _rounded(min(low, 0.0) if samples[0] < 0 else 0.0, max(high, 0.0))
    return ranges


def error_optimal_ranges(statistics: Statistics) -> dict[str, Range]:
    """The range of every tensor whose rounding and saturation have the least squared error.

    Weighs what is lost by saturating few values against the resolution that all others gain, for 8
    bits, each tensor by itself (as R. Banner, Y. Nahshan and D. Soudry, "Post training 4-bit
    quantization of convolutional networks for rapid-deployment", NeurIPS 2019, but on samples
    instead of an assumed distribution).
    """
    return {
        key: _rounded(*_least_error(samples, *statistics.extremes[key]))
        for key, samples in statistics.samples.items()
    }


def cut_to_rectified_sums(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges without what a rectified sum never passes on.

    What lies so far below zero that the other operand can't lift it above gives zero, however far
    it lies: room for it would only coarsen the steps of all other values.

    Args:
        graph: the frame.
        ranges: of its values; those that are not read by such sums alone stay as they are.
    """
    readers: dict[Value, list[str]] = {}
    for operator in graph.operators:
        for value in operator.inputs:
            readers.setdefault(value, []).append(operator.kind)
    cut = dict(ranges)
    for operator in graph.operators:
        if operator.kind != "add" or not operator.attributes["rectified"]:
            continue
        for value, other in zip(operator.inputs, operator.inputs[::-1], strict=True):
            if value.constant is None and other.constant is None and readers[value] == ["add"]:
                low, high = ranges[value.range_key]
                cut[value.range_key] = max(low, -ranges[other.range_key][1]), high
    return cut


def _least_error(ordered: np.ndarray, low: float, high: float) -> Range:
    """Shrink either end in turn as long as the squared error of sorted samples falls."""
    values, weights = _thinned(ordered)
    values = np.concatenate([[low], values, [high]]).astype(np.float64)
    weights = np.concatenate([[1.0], weights, [1.0]])
    bounds = [min(low, 0.0), max(high, 0.0)]

    def error(low: float, high: float) -> float:
        encoding = encode_range(low, high, Precision.INT8)
        bottom, top = encoding.limits
        stored = np.clip(np.rint(values / encoding.scale) + encoding.zero_point, bottom, top)
        real = (stored - encoding.zero_point) * encoding.scale
        return float(weights @ np.square(real - values))

    best = error(*bounds)
    for _ in range(ERROR_ROUNDS):
        for end in (0, 1):
            widest = bounds[end]
            for factor in SHRINKING:
                tried = bounds.copy()
                tried[end] = widest * factor
                found = error(*tried)
                if found < best:
                    best, bounds = found, tried
    return bounds[0], bounds[1]


def _thinned(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the sorted samples, and how many each stands for: in the tails each for itself."""
    tail = min(ERROR_SAMPLES, len(ordered) // 2)
    middle = ordered[tail : len(ordered) - tail]
    picked = middle[:: max(len(middle) // ERROR_SAMPLES, 1)]
    ends = np.ones(tail)
    inner = np.full(len(picked), len(middle) / max(len(picked), 1))
    values = np.concatenate([ordered[:tail], picked, ordered[len(ordered) - tail :]])
    return values, np.concatenate([ends, inner, ends])


def _rounded(low: float, high: float) -> Range:
    """To as many digits as a person reads; a range file then holds exactly what was used."""
    return float(f"{low:.{RANGE_DIGITS}g}"), float(f"{high:.{RANGE_DIGITS}g}")


# By what a recipe calls them (`RANGE_METHODS`); percentiles by the rules for each tensor.
RANGE_FUNCTIONS: Mapping[str, Callable[[Statistics, Sequence[RangeRule]], dict[str, Range]]] = {
    "min-max": lambda statistics, rules: extreme_ranges(statistics),
    "percentile": percentile_ranges,
    "mse": lambda statistics, rules: error_optimal_ranges(statistics),
}


def _percentile(ordered: np.ndarray, percentile: float) -> float:
    position = percentile / 100 * (len(ordered) - 1)
    return float(ordered[round(position)])


def write_ranges(path: Path, ranges: Mapping[str, Range]) -> None:
    """Write ranges as JSON, one tensor a line, so that they can be read and edited."""
    lines = [f"  {json.dumps(k)}: [{low!r}, {high!r}]" for k, (low, high) in ranges.items()]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def require_known(given: Mapping[str, Range], found: Mapping[str, Range]) -> None:
    """Raise UserError where a range is given for what no range was found for."""
    unknown = [key for key in given if key not in found]
    if unknown:
        raise UserError(
            f"there is a range for {unknown[0]}, which is no tensor of this network; "
            "--save-ranges shows their names"
        )


def read_ranges(path: Path) -> dict[str, Range]:
    """Read ranges that `write_ranges` wrote.

    Raises:
        UserError: the file is missing, is not JSON, or has a range that is none.
    """
    try:
        content = strict_json.parse(read_text(path))
        ranges = {str(key): (float(low), float(high)) for key, (low, high) in content.items()}
    except OSError as error:
        raise UserError(f"cannot read ranges {path}: {reason(error)}; check the path") from error
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
