"""What restoring states after a knock is worth is measured of engines that do it or do not."""

import json
import sys

import pytest
import soundfile

from benchmarks import knocks
from quant.evaluation import stress
from tests.helpers.tools import unless_missing


@pytest.mark.slow
def test_restoring_takes_memory_and_leaves_less_of_a_knock(tmp_path, monkeypatch, noisy):
    for index in range(stress.CLIPS):
        clip = noisy[index % len(noisy)]
        soundfile.write(tmp_path / f"{index}.wav", clip, 16000)
    table = tmp_path / "table.json"
    square = tuple(knock for knock in stress.KNOCKS if knock.name == "square, 1 s")
    monkeypatch.setattr(stress, "KNOCKS", square)
    monkeypatch.setattr(knocks, "ARITHMETICS", ("fixed",))
    monkeypatch.setattr(sys, "argv", ["knocks", str(tmp_path), "--json", str(table)])

    with unless_missing():
        knocks.main()

    goes_on, restored = json.loads(table.read_text())["tables"][0]["rows"]
    assert goes_on[:2] == ["gtcrn, fixed", "goes on"]
    assert restored[:2] == ["gtcrn, fixed", "states are restored"]
    memory, more = (float(row[2].removesuffix(" KB")) for row in (goes_on, restored))
    assert memory + 30 < more < memory + 45
    assert int(restored[-1]) < int(goes_on[-1])
