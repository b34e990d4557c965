"""A table of levels, of files as a user makes them."""

import json
import sys
from functools import partial

import numpy as np
import pytest
import soundfile

from benchmarks import levels
from calib_data import clips_folder
from edge_se.errors import UserError
from quant.evaluation.robustness import measure_robustness


def test_each_precision_has_a_row_and_each_condition_a_column(tmp_path, monkeypatch):
    target = tmp_path / "10.json"
    monkeypatch.setattr(levels, "PRECISIONS", ("dynamic",))
    monkeypatch.setattr(levels, "CLIPS", 2)
    monkeypatch.setattr(levels, "SECONDS", 1.5)
    monkeypatch.setattr(levels, "measure_robustness", partial(measure_robustness, minutes=2))
    arguments = ["--calibration", str(clips_folder()), "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["levels", *arguments])

    levels.main()

    (table,) = json.loads(target.read_text())["tables"]
    assert table["title"] == "The built-in GTCRN at other levels"
    assert "2 mixtures of 1.5 s" in table["measured"]
    ((name, *changes, minutes),) = table["rows"]
    assert name == "`dynamic`"
    assert table["columns"][1:3] == ["-45 dBFS", "-35 dBFS"]
    assert len(changes) == len(table["columns"]) - 2 == 6
    for change in changes:
        mean, error = change.rstrip(")").split(" (")
        assert abs(float(mean)) < 0.5 and float(error) >= 0
    assert float(minutes.split(",")[0]) > 20


def test_clips_that_are_noisy_already_are_refused(tmp_path, monkeypatch):
    for index in range(4):
        noise = 0.1 * np.random.default_rng(index).standard_normal(16000)
        soundfile.write(tmp_path / f"{index}.wav", noise, 16000)
    monkeypatch.setattr(sys, "argv", ["levels", "--calibration", str(tmp_path)])

    with pytest.raises(UserError, match="no clean clips"):
        levels.main()
