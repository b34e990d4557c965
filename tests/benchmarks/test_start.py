"""Start and memory of the built-in network come as a table."""

import json
import sys

from benchmarks import start


def test_a_file_starts_in_processes_of_its_own(tmp_path, monkeypatch):
    target = tmp_path / "20.json"
    monkeypatch.setattr(start, "RUNS", (("float in C", "float", "c"),))
    monkeypatch.setattr(start, "STARTS", 1)
    options = ["--minutes", "0.5", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["start", *options])

    start.main()

    (table,) = json.loads(target.read_text())["tables"]
    assert table["columns"] == ["", "float in C"]
    (_, begun), (_, peak), (change_of, change) = table["rows"]
    assert 0 < float(begun.removesuffix(" s")) < 60
    assert 0 < float(peak.removesuffix(" MB")) < 50
    assert "over 0.5 minutes" in change_of and abs(float(change.removesuffix(" MB"))) < 5
