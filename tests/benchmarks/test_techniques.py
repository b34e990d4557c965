"""The table of techniques: files that differ by one technique each, and rows that say so."""

import itertools
import json

import numpy as np
import pytest

from benchmarks import techniques
from benchmarks.precisions import BUILT_IN
from edge_se import Enhancer
from quant.audio.mixing import level_dbfs
from quant.evaluation.pairs import Pair
from quant.graph.recipes import RECIPES
from quant.ptq.pipeline import build_float


@pytest.fixture
def pairs(noisy) -> list[Pair]:
    """Noisy clips whose clean speech stands in for itself at half the level."""
    return [Pair(f"{index}", clip, clip / 2, 16000, 5.0) for index, clip in enumerate(noisy[:2])]


@pytest.mark.slow
def test_every_technique_makes_another_file_that_runs(default_checkpoint, noisy, tmp_path):
    files = dict(techniques.add_in_turn(default_checkpoint, noisy[:2]))

    outputs = []
    # So loud that the last technique, attenuation, has something to do.
    loud = np.clip(noisy[0] * np.float32(10 ** ((-8 - level_dbfs(noisy[0])) / 20)), -1, 1)
    for name, content in files.items():
        (tmp_path / "model.tflite").write_bytes(content)
        enhancer = Enhancer(tmp_path / "model.tflite")
        assert enhancer.manifest.precision == "int8", name
        outputs.append(enhancer.enhance(loud))
    assert len(files) == 11
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(outputs))
    expected = techniques.static_file(default_checkpoint, noisy[:2], RECIPES["int8"])
    assert list(files.values())[-1] == expected


@pytest.mark.slow
def test_rows_give_scores_and_costs(default_checkpoint, pairs, tmp_path, monkeypatch):
    again = build_float(default_checkpoint)
    monkeypatch.setattr(techniques, "add_in_turn", lambda *_: [("again", again)])
    monkeypatch.setattr(techniques, "recovered_file", lambda *_: again)

    table = techniques.table("Ours", default_checkpoint, pairs)
    techniques.draw([table], tmp_path / "plot.png")

    names, _, against, *_, costs, sizes = zip(*table["rows"], strict=True)
    assert names == ("`float`", "again", "and recovery")
    assert against == ("", *["+0.000 [+0.000, +0.000]"] * 2)
    assert len(set(costs)) == len(set(sizes)) == 1
    assert float(costs[0]) > 500 and float(sizes[0]) > 200
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_what_stands_in_the_results_is_what_the_command_writes():
    published = json.loads(techniques.FILE.read_text())["tables"]

    assert any(table["title"] == BUILT_IN + techniques.SUFFIX for table in published)
    for table in published:
        assert table["columns"] == techniques.COLUMNS
        assert table["command"] == [techniques.COMMAND]
