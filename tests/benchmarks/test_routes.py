"""Both routes for one network become a table."""

import json

import pytest

from benchmarks import results
from benchmarks.routes import COLUMNS, FILE, Conversion, Row, contents
from quant.evaluation.evaluate import Difference, EvaluationResult, Summary


def row(name: str, pesq: float, snr_db: float) -> Row:
    means = {"noisy": {"pesq": 1.219}, "enhanced": {"pesq": pesq}}
    overall = Summary("all", 24, means, {"pesq": 24}, snr_db)
    differences = {"pesq": Difference(pesq - 1.77, -0.1, 0.05)}
    return Row(name, EvaluationResult((), (), overall, differences), 1.61e6, 839.4, 370_400)


def test_files_become_rows_and_the_float_file_is_compared_with_nothing(tmp_path):
    rows = [row("our graph, float", 1.77, 100.0), row("litert-torch, int8", 1.686, 16.6)]
    counts = {"our graph, float": 1278, "litert-torch, int8": 1665}

    found = contents(rows, counts, Conversion(120.4, 1.2e-5), "so")

    (table,) = found["tables"]
    assert table["rows"] == [
        ["our graph, float", "1278", "370", "839", "1610", "1.770", "", ""],
        [
            *("litert-torch, int8", "1665", "370", "839", "1610", "1.686"),
            *("-0.084 [-0.100, +0.050]", "16.6"),
        ],
        ["noisy", "", "", "", "", "1.219", "", ""],
    ]
    assert table["footnotes"][0].startswith("Conversion took 120 s of processor time")
    (tmp_path / "65.json").write_text(json.dumps(found))
    assert "| litert-torch, int8 | 1665 |" in results.render(tmp_path)


@pytest.mark.parametrize("key", ["title", "columns", "command"])
def test_what_stands_in_the_results_is_what_the_command_writes(key):
    (published,) = json.loads(FILE.read_text())["tables"]

    (table,) = contents([row("", 1.0, 1.0)], {"": 1}, Conversion(0, 0), "")["tables"]

    assert published[key] == table[key]
    assert len(COLUMNS) == len(published["rows"][0])
