"""Word errors are counted right, and published where the others are."""

import json

import pytest

from benchmarks import results
from benchmarks.recogniser import Row, known_rows, table, with_known_rows, word_errors
from edge_se.strength import PRESETS


@pytest.mark.parametrize(
    ("expected", "found", "errors"),
    [
        ("the red of the bow", "the red of the bow", 0),
        ("The red", "the red", 0),
        ("the red of the bow", "the read of bow", 2),
        ("one two", "zero one two three", 2),
        ("one two three", "", 3),
        ("a b c d", "b c d e", 2),
    ],
)
def test_words_left_out_put_in_and_changed_are_errors(expected, found, errors):
    assert word_errors(expected, found) == (errors, len(expected.split()))


def test_rows_are_put_in_place_of_those_of_their_names(tmp_path):
    limit = f"at most {PRESETS['recogniser'].max_attenuation_db:.0f} dB"
    path = tmp_path / "80.json"
    steps = (("A", limit, 0.5), ("B", limit, 0.5), ("A", "noisy", 0.75), ("A", limit, 0.25))
    for title, name, share in steps:
        row = Row(name, {0: share, 5: 0.125, None: 0.2}, {"pesq": 1.5})
        found = with_known_rows(path, table(title, "python ...", [row], []))
        results.put(path, found, title="Speech", measured="")

    tables = json.loads(path.read_text())["tables"]
    assert [each["title"] for each in tables] == ["A", "B"]
    name = f"{limit} (`--for recogniser`)"
    assert tables[0]["rows"] == [
        ["noisy", "75.0 %", "12.5 %", "20.0 %", "1.500"],
        [name, "25.0 %", "12.5 %", "20.0 %", "1.500"],
    ]
    assert f"| {name} | 25.0 % |" in results.render(tmp_path)
    assert known_rows(path, "A") == {"noisy", limit}
    assert known_rows(path, "C") == set()
