"""Generating engines: the command, other networks, clean compilation, sizes."""

import subprocess

import numpy as np
import pytest
import torch

import edge_se.cli
from edge_se.engines.generated import ARITHMETICS
from edge_se.errors import UserError
from quant.c.engines import make_engine
from quant.c.lowering import lower
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.networks.checkpoint import Checkpoint
from quant.networks.gtcrn.model import GTCRN
from quant.networks.registry import find_network
from targets.c.checks.run import hostile
from targets.c.generate import frame_sources, generate
from tests.targets.c.test_float_engine import offline


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_changed_weights_are_refused_or_harmless(sources, compilers, arithmetic):
    said = hostile(sources(arithmetic), arithmetic, compilers[0], 2000)

    assert said.startswith("2000 changed weights")


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.slow
def test_compilers_have_nothing_to_say(sources, compilers, tmp_path, arithmetic):
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]

    for compiler in compilers:
        command = [compiler, "-std=c99", "-O2", *warnings, "-c", "-o", str(tmp_path / "engine.o")]
        for name in ("gtcrn.c", "gtcrn_weights.c"):
            subprocess.run([*command, str(sources(arithmetic) / name)], check=True)


def test_generation_repeats(checkpoint):
    assert generate(checkpoint) == generate(checkpoint)


def test_names_have_the_prefix(checkpoint):
    files = generate(checkpoint, prefix="mine")

    assert "void mine_process(mine_state *state" in files["mine.h"]
    assert "gtcrn_" not in files["mine.c"]


def changed(model: GTCRN, change: str) -> GTCRN:
    """A network whose weights tempt a generator to write another frame."""
    with torch.no_grad():
        if change == "steep slopes":
            for module in model.modules():
                if isinstance(module, torch.nn.PReLU):
                    module.weight.fill_(1.5)
        elif change == "slopes of one":
            for module in model.modules():
                if isinstance(module, torch.nn.PReLU):
                    module.weight.fill_(1.0)
        elif change == "zeros":
            for name, weight in model.named_parameters():
                if "_hh_" in name or "rnn1.weight_ih" in name:
                    weight.zero_()
        elif change == "noise in bands":
            bands = model.erb.erb_fc.weight
            bands.copy_(torch.where(bands.bool(), bands - 1e-12, bands))
        return model.eval()


@pytest.mark.parametrize(
    "arithmetic", ["float", "fixed", pytest.param("int8", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("change", "options"),
    [
        ("random", {}),
        ("steep slopes", {}),
        ("slopes of one", {}),
        ("zeros", {}),
        ("noise in bands", {}),
        ("other bands", {"sample_rate": 24000}),
    ],
)
def test_the_frame_does_not_depend_on_the_checkpoint(
    checkpoint, noisy, sources, arithmetic, change, options
):
    torch.manual_seed(0)
    model = changed(GTCRN(**options), change)
    other = Checkpoint(model, find_network("gtcrn"), "random", "0" * 64, options)

    engine = make_engine(other, arithmetic, noisy, lambda stage, done, total: None)

    files = frame_sources(engine, "gtcrn")
    assert {name: (sources(arithmetic) / name).read_text() for name in files} == files
    assert len(engine.blob) == engine.weights.size


@pytest.mark.parametrize("slope", [-0.5, 0.3, 1.0, 1.7])
def test_slopes_of_every_size_are_computed(checkpoint, engine, noisy, slope):
    torch.manual_seed(0)
    model = GTCRN()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.PReLU):
                module.weight.fill_(slope)
    other = Checkpoint(model.eval(), find_network("gtcrn"), "random", "0" * 64)
    made = make_engine(other, "float", None, lambda stage, done, total: None, keep_level=True)
    compiled = engine("float")
    blob = np.frombuffer(made.blob, np.uint8).copy()
    hops = noisy[0][: 20 * 256]

    fault = compiled.library.gtcrn_load(compiled.state.ctypes.data, blob.ctypes.data, len(blob))

    enhanced = compiled.process(hops)
    assert fault is None
    np.testing.assert_allclose(enhanced[256:], offline(model, hops)[:-256], atol=1e-5)


def test_another_graph_is_refused():
    graph = Graph()
    features = graph.input("features", (3, 257))
    image = ops.reshape(graph, features, (1, 1, 257, 3), "image")
    weight, bias = torch.ones(1, 1, 1, 3), torch.zeros(1)
    graph.output(ops.convolution(graph, image, weight, bias, "convolution"))

    with pytest.raises(UserError, match="no C engine"):
        lower(graph)


def test_an_unknown_arithmetic_is_refused(checkpoint):
    with pytest.raises(UserError, match="fixed"):
        generate(checkpoint, "double")


def test_the_command_writes_what_generate_gives(checkpoint, tmp_path, capsys):
    code = edge_se.cli.main(["compile", "--out", f"{tmp_path / 'engine'}/"])

    written = {path.name: path.read_text() for path in (tmp_path / "engine").iterdir()}
    assert code == 0
    assert written == generate(checkpoint)
    assert "compile with" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--prefix", "a-b"],
        ["--calibration-clips", "."],
        ["--board", "cortex-m0"],
        ["--board", "cortex-m33", "--arithmetic", "float"],
        ["--board", "cortex-m33", "--plugin", "lv2"],
        ["--board", "cortex-m33", "--prefix", "mine"],
        ["--board", "cortex-m33", "--out", "engine.so"],
        ["--board", "cortex-m33", "--restore-states", "--keep-level"],
        ["--restore-states"],
        ["--board", "pi4"],
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, arguments):
    code = edge_se.cli.main(["compile", "--out", f"{tmp_path}/", *arguments])

    assert code != 0
    assert capsys.readouterr().err.count("\n") == 1
