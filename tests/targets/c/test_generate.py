"""Generating engines: the command, other networks, clean compilation, sizes."""

import subprocess

import pytest
import torch

import edge_se.cli
from edge_se.errors import UserError
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.networks.checkpoint import Checkpoint
from quant.networks.gtcrn.model import GTCRN
from quant.networks.registry import find_network
from targets.c.generate import generate
from targets.c.lowering import lower


@pytest.mark.parametrize("arithmetic", ["float", "fixed"])
@pytest.mark.slow
def test_compilers_have_nothing_to_say(sources, compilers, tmp_path, arithmetic):
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]

    for compiler in compilers:
        command = [compiler, "-std=c99", "-O2", *warnings, "-c", "-o", str(tmp_path / "engine.o")]
        subprocess.run([*command, str(sources(arithmetic) / "gtcrn.c")], check=True)


def test_generation_repeats(checkpoint):
    assert generate(checkpoint) == generate(checkpoint)


def test_names_have_the_prefix(checkpoint):
    files = generate(checkpoint, prefix="mine")

    assert "void mine_process(mine_state *state" in files["mine.h"]
    assert "gtcrn_" not in files["mine.c"]


def test_a_network_with_random_weights_is_served_too():
    torch.manual_seed(0)
    checkpoint = Checkpoint(GTCRN().eval(), find_network("gtcrn"), "random", "0" * 64)

    assert "gtcrn.c" in generate(checkpoint)


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


@pytest.mark.parametrize("arguments", [["--prefix", "a-b"], ["--calibration-clips", "."]])
def test_the_command_says_what_is_wrong(tmp_path, capsys, arguments):
    code = edge_se.cli.main(["compile", "--out", f"{tmp_path}/", *arguments])

    assert code != 0
    assert capsys.readouterr().err.count("\n") == 1
