"""Measures of the front end become tables, with the front end and without it."""

import json
import sys

from benchmarks import front_end
from benchmarks.results import render


def found(db: float, ms: float | None) -> dict:
    conditions = [{"name": name, "enhanced_db": db} for name in front_end.CONDITIONS]
    off = [None, *7 * [-9.0], 2.9, None, 3.1] if ms is None else [-9.0, 0.0]
    recovery = {"knock": "square", "ms": ms, "farthest_db": -9.0, "differences_db": off}
    return {
        "overall": {"means": {"enhanced": {"pesq": 1.5, "si_snr_db": db}}},
        "stress": {"enhanced": {"conditions": conditions, "recoveries": [recovery]}},
    }


def test_each_network_has_a_row_without_and_one_with_it(tmp_path, monkeypatch):
    for name, content in (("with", found(10.04, 50)), ("without", found(2, None))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    both = f"A={tmp_path}/with.json,{tmp_path}/without.json"
    target = tmp_path / "results" / "12.json"
    target.parent.mkdir()
    arguments = [both, f"B={tmp_path}/with.json", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["front_end", *arguments])

    front_end.main()

    levels, knocks, usual = json.loads(target.read_text())["tables"]
    assert [row[:3] for row in levels["rows"]] == [
        ["A", "without", "2.0"],
        ["", "with", "10.0"],
        ["B", "with", "10.0"],
    ]
    assert knocks["columns"] == ["network", "front end", "square"]
    assert [row[2] for row in knocks["rows"]] == ["never (3)", "50", "50"]
    assert usual["rows"][1] == ["", "with", "1.500", "10.04"]
    assert "### The front end on usual recordings" in render(target.parent)


def test_rows_of_other_networks_stay(tmp_path, monkeypatch):
    target = tmp_path / "12.json"
    for db, networks in ((1.0, "AB"), (2.0, "BC")):
        (tmp_path / "found.json").write_text(json.dumps(found(db, 50)))
        both = [f"{name}={tmp_path}/found.json,{tmp_path}/found.json" for name in networks]
        monkeypatch.setattr(sys, "argv", ["front_end", *both, "--json", str(target)])
        front_end.main()

    levels = json.loads(target.read_text())["tables"][0]["rows"]

    assert [row[0] for row in levels] == ["A", "", "B", "", "C", ""]
    assert [row[2] for row in levels] == ["1.0", "1.0", "2.0", "2.0", "2.0", "2.0"]
