"""The picture of a training run."""

import json

import pytest

from benchmarks.curve import draw_curve, read_history
from edge_se.errors import UserError


def entry(seconds, **more):
    return {"training_seconds": seconds, "loss": 3.0, "pesq": 1.4, "si_snr": 9.0, **more}


def test_a_history_becomes_a_picture(tmp_path):
    lines = [entry(60, run="first"), entry(120, run="first"), entry(60, run="second")]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    draw_curve(read_history(tmp_path / "history.jsonl"), tmp_path / "curve.png")

    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "not JSON", '{"step": 1}\n'])
def test_a_file_that_is_no_history_is_refused(tmp_path, content):
    (tmp_path / "history.jsonl").write_text(content)

    with pytest.raises(UserError, match=r"name a run's history\.jsonl"):
        read_history(tmp_path / "history.jsonl")
