"""Ranges are percentiles by rule; their file can be read back, edited, and is checked."""

import numpy as np
import pytest

from edge_se.errors import UserError
from quant.calibration import Statistics
from quant.ranges import (
    RangeRule,
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


def test_extremes_are_the_smallest_and_largest(statistics):
    assert extreme_ranges(statistics) == {"both.signs": (-5000.0, 7000.0)}


def test_file_gives_the_ranges_back(tmp_path):
    ranges = {"a": (-1.25, 3.0), "b.c": (0.0, 1e-7), "d": (-12345.678, 0.0)}

    write_ranges(tmp_path / "ranges.json", ranges)

    assert read_ranges(tmp_path / "ranges.json") == ranges


def test_file_has_one_tensor_a_line(tmp_path):
    write_ranges(tmp_path / "ranges.json", {"a": (-1.0, 3.0), "b": (0.0, 0.5)})

    assert (tmp_path / "ranges.json").read_text().splitlines()[1:3] == [
        '  "a": [-1, 3],',
        '  "b": [0, 0.5]',
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", '{"a": 3}', '{"a": [1]}', '{"a": [0, "x"]}', '{"a": [0, 1, 2]}', "\xff\xfe"],
)
def test_a_file_that_holds_no_ranges_is_refused(tmp_path, text):
    path = tmp_path / "ranges.json"
    path.write_bytes(text.encode("latin1"))

    with pytest.raises(UserError, match=r"ranges\.json holds no ranges"):
        read_ranges(path)


@pytest.mark.parametrize("span", ["[1, 2]", "[-2, -1]", "[1, -1]", "[0, 0]", "[NaN, 1]"])
def test_a_range_without_zero_is_named(tmp_path, span):
    path = tmp_path / "ranges.json"
    path.write_text(f'{{"good": [-1, 1], "bad": {span}}}')

    with pytest.raises(UserError, match="gives bad no finite range that holds zero"):
        read_ranges(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read ranges .*nowhere\.json"):
        read_ranges(tmp_path / "nowhere.json")
