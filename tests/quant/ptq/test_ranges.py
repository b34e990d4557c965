"""Ranges are percentiles by rule; their file can be read back, edited, and is checked."""

import os

import numpy as np
import pytest
import torch

from edge_se.errors import UserError
from quant.graph import operators as ops
from quant.graph.execute import run_sequence
from quant.graph.graph import Graph
from quant.ptq.calibration import Statistics
from quant.ptq.ranges import (
    RANGE_FUNCTIONS,
    RangeRule,
    cut_to_rectified_sums,
    error_optimal_ranges,
    extreme_ranges,
    percentile_ranges,
    read_ranges,
    write_ranges,
)


@pytest.fixture
def statistics():
    return Statistics(
        samples={
            "both.signs": np.arange(-1000, 1001, dtype=np.float32),
            "positive": np.arange(1, 1002, dtype=np.float32),
            "negative": np.arange(-1001, 0, dtype=np.float32),
        },
        extremes={"both.signs": (-5000.0, 7000.0)},
    )


def test_percentiles_leave_the_same_share_out_on_both_sides(statistics):
    ranges = percentile_ranges(statistics, percentile=99.0)

    assert ranges["both.signs"] == (-980.0, 980.0)


def test_ranges_hold_zero(statistics):
    ranges = percentile_ranges(statistics, percentile=99.0)

    assert ranges["positive"] == (0.0, 991.0)
    assert ranges["negative"] == (-991.0, 0.0)


def test_the_first_rule_that_matches_counts(statistics):
    rules = (RangeRule(r"^both", 90.0), RangeRule(r"signs$", 50.0))

    ranges = percentile_ranges(statistics, rules, percentile=99.0)

    assert ranges["both.signs"] == (-800.0, 800.0)
    assert ranges["positive"] == (0.0, 991.0)


def test_a_rule_may_ask_for_what_values_are_when_others_saturate(statistics):
    statistics.saturated["positive"] = np.arange(1, 101, dtype=np.float32)
    rules = (RangeRule(r"", 99.0, saturated=True),)

    ranges = percentile_ranges(statistics, rules)

    assert ranges["positive"] == (0.0, 99.0)
    assert ranges["both.signs"] == (-980.0, 980.0)  # nothing was observed of it
    assert percentile_ranges(statistics, (), 99.0)["positive"] == (0.0, 991.0)


def test_extremes_are_the_smallest_and_largest(statistics):
    assert extreme_ranges(statistics) == {"both.signs": (-5000.0, 7000.0)}


def test_a_rectified_sum_needs_no_room_for_what_it_drops():
    graph = Graph()
    a, b = graph.input("a", (1, 1000)), graph.input("b", (1, 1000))
    graph.output(ops.add(graph, a, b, "sum", rectified=True))
    ranges = {"a": (-8.0, 0.5), "b": (-0.1, 2.0), "sum": (0.0, 2.5)}

    cut = cut_to_rectified_sums(graph, ranges)

    assert cut == {"a": (-2.0, 0.5), "b": (-0.1, 2.0), "sum": (0.0, 2.5)}
    random = torch.Generator().manual_seed(0)
    values = {
        name: torch.empty(1, 1, 1, 1000).uniform_(*ranges[name], generator=random) for name in "ab"
    }
    (whole,) = run_sequence(graph, values)
    (same,) = run_sequence(graph, {name: x.clamp(*cut[name]) for name, x in values.items()})
    assert torch.equal(whole, same) and whole.any()


def test_what_others_read_too_keeps_its_range():
    graph = Graph()
    a, b = graph.input("a", (1, 4)), graph.input("b", (1, 4))
    graph.output(ops.add(graph, ops.add(graph, a, b, "sum", rectified=True), a, "again"))
    ranges = {"a": (-8.0, 0.5), "b": (-9.0, 2.0), "sum": (0.0, 2.5), "again": (-8.0, 3.0)}

    assert cut_to_rectified_sums(graph, ranges) == ranges | {"b": (-0.5, 2.0)}


def gaussian(count: int = 200_001) -> np.ndarray:
    """Samples of a normal distribution, as even as can be, sorted."""
    from scipy.stats import norm

    return norm.ppf((np.arange(count) + 0.5) / count).astype(np.float32)


def test_the_error_optimal_range_of_a_normal_distribution_is_the_published_one():
    """Banner et al. (2019): 8 bits clip best at 3.92 standard deviations."""
    samples = gaussian()
    statistics = Statistics({"x": samples}, {"x": (float(samples[0]), float(samples[-1]))})

    low, high = error_optimal_ranges(statistics)["x"]

    assert (low, high) == pytest.approx((-3.92, 3.92), rel=0.05)


def test_an_error_optimal_range_weighs_a_single_far_value_against_all_others():
    """The derivative of (far - high)^2 + count * ((high - low) / 255)^2 / 12 is zero there."""
    samples, far = gaussian(), 60.0
    statistics = Statistics({"x": samples}, {"x": (float(samples[0]), far)})

    low, high = error_optimal_ranges(statistics)["x"]

    weight = len(samples) / (12 * 255**2)
    assert high == pytest.approx((far + weight * low) / (1 + weight), rel=0.03)


@pytest.mark.parametrize("method", sorted(RANGE_FUNCTIONS))
def test_every_method_s_ranges_survive_their_file(method, tmp_path):
    samples = gaussian(1001)
    statistics = Statistics({"x": samples}, {"x": (float(samples[0]), float(samples[-1]))})
    ranges = RANGE_FUNCTIONS[method](statistics, ())

    write_ranges(tmp_path / "ranges.json", ranges)

    assert read_ranges(tmp_path / "ranges.json") == ranges


def test_file_gives_the_ranges_back(tmp_path):
    ranges = {"a": (-1.25, 3.0), "b.c": (0.0, 1e-7), "d": (-12345.678, 0.0)}

    write_ranges(tmp_path / "ranges.json", ranges)

    assert read_ranges(tmp_path / "ranges.json") == ranges


def test_file_has_one_tensor_a_line(tmp_path):
    write_ranges(tmp_path / "ranges.json", {"a": (-1.0, 3.0), "b": (0.0, 0.5)})

    assert (tmp_path / "ranges.json").read_text().splitlines()[1:3] == [
        '  "a": [-1.0, 3.0],',
        '  "b": [0.0, 0.5]',
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"a": 3}',
        '{"a": [1]}',
        '{"a": [0, "x"]}',
        '{"a": [0, 1, 2]}',
        "\xff\xfe",
        "[" * 10**5,
        '{"a": [NaN, 1]}',
    ],
)
def test_a_file_that_holds_no_ranges_is_refused(tmp_path, text):
    path = tmp_path / "ranges.json"
    path.write_bytes(text.encode("latin1"))

    with pytest.raises(UserError, match=r"ranges\.json holds no ranges"):
        read_ranges(path)


@pytest.mark.parametrize("span", ["[1, 2]", "[-2, -1]", "[1, -1]", "[0, 0]"])
def test_a_range_without_zero_is_named(tmp_path, span):
    path = tmp_path / "ranges.json"
    path.write_text(f'{{"good": [-1, 1], "bad": {span}}}')

    with pytest.raises(UserError, match="gives bad no finite range that holds zero"):
        read_ranges(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read ranges .*nowhere\.json"):
        read_ranges(tmp_path / "nowhere.json")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UserError, match=r"cannot read ranges .*pipe: It is a pipe or a device"):
        read_ranges(tmp_path / "pipe")
