"""The table of techniques: files that differ by one technique each, and rows that say so."""

import itertools

import numpy as np
import pytest

from benchmarks.techniques import add_in_turn, draw, format_rows, score, static_file
from edge_se import Enhancer
from quant.audio.mixing import level_dbfs
from quant.evaluation.pairs import Pair


@pytest.fixture
def pairs(noisy) -> list[Pair]:
    """Noisy clips whose clean speech stands in for itself at half the level."""
    return [Pair(f"{index}", clip, clip / 2, 16000, 5.0) for index, clip in enumerate(noisy[:2])]


@pytest.mark.slow
def test_every_technique_makes_another_file_that_runs(default_checkpoint, noisy, tmp_path):
    files = dict(add_in_turn(default_checkpoint, noisy[:2]))

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
    assert list(files.values())[-1] == static_file(default_checkpoint, noisy[:2])


@pytest.mark.slow
def test_rows_give_scores_and_costs(default_checkpoint, pairs, tmp_path):
    from quant.ptq.pipeline import build_float

    path = tmp_path / "float.tflite"
    path.write_bytes(build_float(default_checkpoint))

    rows = score({"float": path, "again": path}, pairs, path)
    draw({"default": rows}, tmp_path / "plot.png")

    table = format_rows(rows).splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["noisy", "float", "again"]
    assert rows[1].result.overall.snr_to_reference_db == 100.0
    assert rows[1].to_dict()["differences"]["pesq"]["mean"] == 0.0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
