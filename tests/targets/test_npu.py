"""Arm's Ethos-U: the real Vela compiles whole models, and says what it leaves to the CPU."""

import json
from pathlib import Path

import pytest
import torch

from edge_se.cli import main
from edge_se.errors import UserError
from quant.graph.recipes import RECIPES
from quant.graph.specimen import made_up_ranges
from quant.networks.checkpoint import Checkpoint
from quant.networks.network import Network
from quant.networks.registry import NETWORKS
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import CalibratedGraph, build_quantized
from targets.npu.ethos_u import VARIANTS, Compiled, compile_for_npu
from tests.helpers.tiny_model import write_tiny

pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")
ENHANCERS = [network for network in NETWORKS.values() if not network.separates]


@pytest.fixture
def tiny_int8(tmp_path) -> Path:
    return write_tiny(tmp_path / "tiny.tflite", "int8")


@torch.no_grad()
def untrained_int8(path: Path, network: Network) -> Path:
    """An `int8` file of a network as it is before training; its ranges are made up."""
    torch.manual_seed(0)
    recipe = RECIPES["int8"]
    model = network.create().eval()
    graph = network.step(model, recipe.splits)
    checkpoint = Checkpoint(model, network, "untrained", 64 * "0")
    weighted = (operator.inputs[0] for operator in graph.operators if operator.rule.weighted)
    means = {value: torch.zeros(value.shape[-1]) for value in weighted}
    statistics = Statistics(input_means=means)
    calibrated = CalibratedGraph(checkpoint, graph, statistics, checkpoint.signal)
    path.write_bytes(build_quantized(calibrated, recipe, made_up_ranges(graph), {}))
    return path


def test_a_small_model_runs_on_the_npu_alone(tiny_int8, tmp_path, capsys):
    status = main(
        ["compile", str(tiny_int8), "--npu", "ethos-u55-128", "--out", str(tmp_path / "npu")]
    )

    assert status == 0
    said = capsys.readouterr().out
    assert "100.0 % of the operators on the NPU" in said and "Vela's estimate" in said
    written = sorted(path.name for path in (tmp_path / "npu").iterdir())
    assert written == ["tiny_ethos-u55-128.json", "tiny_ethos-u55-128.tflite"]
    report = json.loads((tmp_path / "npu" / written[0]).read_text())
    assert report["share"] == 1 and report["cpu_operators"] == 0
    assert min(report["cycles"], report["sram_bytes"], report["flash_bytes"]) > 0
    assert (tmp_path / "npu" / written[1]).read_bytes()[4:8] == b"TFL3"


def test_what_would_stay_on_the_cpu_is_named_and_refused(tmp_path, capsys):
    model = write_tiny(tmp_path / "tiny.tflite", "float32")
    command = ["compile", str(model), "--npu", "ethos-u55-128", "--out", str(tmp_path / "npu")]

    assert main(command) == 2
    said = capsys.readouterr().err
    assert "would stay on the CPU" in said and "LOGISTIC: " in said and "Float32" in said
    assert not (tmp_path / "npu").exists()
    assert main([*command, "--allow-cpu"]) == 0
    said = capsys.readouterr().out
    assert "0.0 % of the operators on the NPU" in said and "left to the CPU: " in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["model.bin", "--npu", "ethos-u55-128"], "--npu compiles a model file"),
        (["--npu", "ethos-u55-128"], "--npu compiles a model file"),
        (["tiny.tflite", "--npu", "ethos-u55-7"], "there is no NPU 'ethos-u55-7'; choose from"),
        (["gone.tflite", "--npu", "ethos-u55-128"], "there is no model file gone.tflite"),
        (["tiny.tflite", "--npu", "ethos-u55-128", "--board", "pi4"], "--board means nothing"),
        (["tiny.tflite", "--npu", "ethos-u55-128", "--arithmetic", "fixed"], "--arithmetic means"),
        (["tiny.tflite", "--npu", "ethos-u55-128", "--keep-level"], "--keep-level means nothing"),
        (["tiny.tflite", "--allow-cpu"], "--allow-cpu is for an NPU"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    tiny_int8, tmp_path, monkeypatch, capsys, arguments, complaint
):
    monkeypatch.chdir(tmp_path)

    assert main(["compile", *arguments, "--out", "npu/"]) == 2

    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "npu").exists()


def test_vela_is_named_where_it_is_not_installed(tiny_int8, monkeypatch):
    monkeypatch.setattr("targets.npu.ethos_u.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r'pip install "edge-se\[npu\]"'):
        compile_for_npu(tiny_int8, "ethos-u55-128")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_vela_knows_every_variant(tiny_int8, variant):
    assert compile_for_npu(tiny_int8, variant).share == 1


def compiled(tmp_path: Path, network: Network, variant: str) -> Compiled:
    return compile_for_npu(untrained_int8(tmp_path / "model.tflite", network), variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-128"])
@pytest.mark.parametrize("network", ENHANCERS, ids=lambda network: network.name)
def test_every_network_in_8_bits_runs_on_the_npu_alone(tmp_path, network, variant):
    result = compiled(tmp_path, network, variant)

    assert (result.cpu_operators, result.on_cpu) == (0, ())
    assert result.cycles / result.clock_hz < result.hop_seconds
