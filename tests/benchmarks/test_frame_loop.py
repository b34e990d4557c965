"""Files are counted in every engine that has their bits, beside what `auto` predicts."""

from functools import partial

import pytest

from benchmarks.frame_loop import Run, runs_of
from edge_se.model_file import find_model
from quant.c.engines import float_engine, with_weights
from quant.graph.recipes import RECIPES
from quant.mixed_precision.costs import predict
from quant.ptq.pipeline import build_float
from targets.boards import find_board


@pytest.fixture(scope="module")
def float_file(default_checkpoint, tmp_path_factory):
    engine = partial(float_engine, default_checkpoint, RECIPES["float"])
    path = tmp_path_factory.mktemp("float") / "float.tflite"
    path.write_bytes(with_weights(build_float(default_checkpoint), engine))
    return path


def test_a_file_runs_in_c_where_that_has_its_bits(float_file):
    assert [run.name for run in runs_of(float_file)] == [
        "gtcrn, `float`, LiteRT",
        "gtcrn, `float`, C",
    ]
    mixed = find_model("gtcrn")
    assert list(runs_of(mixed)) == [Run(mixed, "tflite")]


def test_a_cell_says_what_is_predicted_of_litert_and_not_of_c(float_file):
    in_litert, in_c = runs_of(float_file)

    assert predict(float_file.read_bytes(), "cortex-a72").engine == "c"
    assert in_litert.cell(1e6, "cortex-a72").startswith("1,000 K (8")
    assert in_litert.cell(1e6, "cortex-a72").endswith(" %)")
    assert in_c.cell(250400, "cortex-a72") == "250 K"


def test_factors_are_those_of_the_board_s_speeds(float_file):
    run, board = Run(float_file, "c"), find_board("pi4")
    slow, fast = sorted(board.instructions_per_second or ())

    assert run.factors(1e6, board) == f"{1e6 / fast / 0.016:.3f} to {1e6 / slow / 0.016:.3f}"
