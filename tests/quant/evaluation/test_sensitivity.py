"""What each scope costs: found on a network where it is known, and on the embedded one."""

import json

import numpy as np
import pytest
import soundfile

from quant.evaluation.judge import JudgedClips, SimulationJudge
from quant.evaluation.sensitivity import format_sensitivity, measure_sensitivity
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.networks.gtcrn.model import SIGNAL
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import CalibratedGraph
from tests.helpers.running import checkpoint_of


@pytest.fixture
def sensitivity():
    """A fine scope, and a coarse one whose range is ten times too wide."""
    graph = Graph()
    features = graph.input("features", (3, 257))
    x = ops.slice(graph, features, (1, 0), (2, 257), "rows")
    for name in ("fine", "coarse"):
        with graph.scope(name):
            x = ops.add(graph, x, x, "twice")
    graph.output(x)
    samples = np.linspace(-1, 1, 1001, dtype=np.float32)
    widths = {"features": 4.0, "fine.twice": 4.0, "coarse.twice": 40.0}
    statistics = Statistics(
        {key: width * samples for key, width in widths.items()},
        {key: (-width, width) for key, width in widths.items()},
    )
    checkpoint = checkpoint_of(graph)
    noise = np.random.default_rng(0).standard_normal((2, 4000)).astype(np.float32) / 60
    clips = JudgedClips(noise, 16000)
    calibrated = CalibratedGraph(checkpoint, graph, statistics, SIGNAL)
    return measure_sensitivity(calibrated, SimulationJudge(clips, checkpoint))


def test_the_scope_with_the_coarse_range_costs_most(sensitivity):
    alone = {entry.scope: entry.int8.output_snr_db for entry in sensitivity.scopes}
    left = {entry.scope: entry.left_float.output_snr_db for entry in sensitivity.scopes}

    assert list(alone) == ["all", "features", "fine", "coarse"]
    assert alone["coarse"] < alone["fine"] - 10
    assert max(left, key=left.__getitem__) == "all"  # nothing is quantized then
    assert left["coarse"] > left["fine"] + 5


def test_sixteen_bits_are_finer(sensitivity):
    for entry in sensitivity.scopes:
        assert entry.int16.output_snr_db > entry.int8.output_snr_db + 20


def test_the_table_has_a_line_for_each_scope(sensitivity):
    lines = format_sensitivity(sensitivity).splitlines()

    assert [line.split()[0] for line in lines[2:]] == ["all", "features", "fine", "coarse"]


@pytest.mark.slow
def test_the_command_writes_a_table_and_a_plot(main, noisy, tmp_path):
    (tmp_path / "clips").mkdir()
    for index, samples in enumerate(noisy):
        soundfile.write(tmp_path / "clips" / f"{index}.wav", samples, 16000)

    code, output, _ = main("sensitivity", "--clips", "clips", "--out", "found")

    content = json.loads((tmp_path / "found" / "sensitivity.json").read_text())
    scopes = [entry["scope"] for entry in content["scopes"]]
    assert code == 0
    assert {"features", "attention", "dpgrnn1.intra", "states"} <= set(scopes)
    assert all(scope in output for scope in scopes)
    assert (tmp_path / "found" / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
