"""Times and sizes of C engines come as tables."""

import json
import sys

import numpy as np
import soundfile

from benchmarks import sizes, speed


def test_all_take_turns_and_are_compared_with_the_first(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).standard_normal(16000) / 20
    soundfile.write(tmp_path / "noisy.wav", noise, 16000)
    target = tmp_path / "20.json"
    monkeypatch.setattr(speed, "RUNS", (("float", "c", None), ("float", "tflite", None)))
    options = ["--peers", "c", "--seconds", "0.4", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["speed", str(tmp_path / "noisy.wav"), *options])

    speed.main()

    (table,) = json.loads(target.read_text())["tables"]
    first, second, peer = table["rows"]
    assert first[0].endswith("`float` in C") and first[-1] == "1.00, 1.00"
    assert "LiteRT" in second[0] and peer[0].startswith("gtcrn.tflite")
    for row in table["rows"]:
        assert row[2] == "16"
        low, median = map(float, row[3].split(", "))
        assert 0 < low <= median and float(row[4]) < 1


def test_every_arithmetic_is_compiled_for_every_target(tmp_path, monkeypatch):
    target = tmp_path / "40.json"
    monkeypatch.setattr(sizes, "ARITHMETICS", ("float",))
    monkeypatch.setattr(sizes, "TARGETS", {"this machine": ((), None)})
    monkeypatch.setattr(sys, "argv", ["sizes", "--json", str(target)])

    sizes.main()

    (table,) = json.loads(target.read_text())["tables"]
    assert table["columns"] == ["", "this machine"]
    ((arithmetic, size),) = table["rows"]
    assert arithmetic == "float" and 100 < int(size.removesuffix(" KB")) < 300
