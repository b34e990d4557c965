"""The cost table knows what the recipes' files hold, and predicts sums of what it knows."""

from dataclasses import replace
from functools import partial

import pytest

from edge_se.engines.generated import prefix
from edge_se.errors import UserError
from edge_se.manifest import BandMerging
from edge_se.model_file import find_model, read_manifest
from quant.c.engines import float_engine, with_weights
from quant.graph.recipes import RECIPES
from quant.mixed_precision.costs import (
    Counted,
    LoopCost,
    Table,
    find_board,
    frame_key,
    fused_pads,
    load_table,
    partition_borders,
    predict,
)
from quant.mixed_precision.operators import FileOperator, describe_operators, parse, repeated
from quant.ptq.pipeline import build_float
from targets.engines import ONLY_FRAMES


@pytest.fixture(scope="module")
def float_file(default_checkpoint) -> bytes:
    return build_float(default_checkpoint)


def operator(inputs, outputs, kind="ADD") -> FileOperator:
    return FileOperator(kind, kind, "int8", 1, tuple(inputs), tuple(outputs))


def test_every_operator_of_the_embedded_network_was_counted(float_file):
    operators = list(describe_operators(parse(float_file)))

    unknown = {operator.key for operator in operators} - set(load_table().operators)

    assert len(operators) > 1000
    assert unknown == set()


@pytest.mark.parametrize("board", sorted(load_table().boards))
def test_the_embedded_file_has_a_cost_on_every_board(board):
    cost = predict(find_model("gtcrn").read_bytes(), find_board(board).core)

    assert 1e5 < cost.instructions < 1e7
    assert sum(count for count, _ in cost.by_kind.values()) > 1000


@pytest.mark.parametrize("mask", ["int8", "int16", "float32"])
def test_a_mask_of_any_type_has_a_cost_beside_features_of_bands(mask):
    manifest = read_manifest(find_model("gtcrn"))
    tensors = replace(
        manifest.tensors,
        features=replace(manifest.tensors.features, dtype="int8"),
        mask=replace(manifest.tensors.mask, dtype=mask),
    )
    bands = BandMerging(1, 8, alike=65, first=(), weights=())

    key = frame_key(replace(manifest, tensors=tensors, bands=bands))

    assert all(key in loop.frame for loop in load_table().loops.values())


def test_a_cost_is_the_sum_of_its_operators_and_the_loop(float_file):
    loop = LoopCost({"float32_float32": 1000.0}, 10.0, 0.5, 100.0, 1.0)
    ones = {
        entry.key: Counted(entry.kind, entry.type, entry.work, True, {"core": 1.0})
        for entry in describe_operators(parse(float_file))
    }

    cost = predict(float_file, "core", Table({}, {"core": loop}, ones))

    model = parse(float_file).subgraphs[0]
    pads, _ = cost.by_kind["PAD", "float32"]  # convolutions do them
    borders = len(model.inputs) + len(model.outputs)
    states = len(model.inputs) - 1
    state_bytes = cost.loop - 1000 - 10 * states - 100 - borders
    assert cost.instructions == cost.loop + len(model.operators) - pads
    assert state_bytes > 0
    assert cost.estimated == 0


def test_every_engine_that_runs_files_in_c_was_counted_on_every_core():
    table = load_table()

    assert set(table.engines) == {
        prefix(network, arithmetic)
        for network in ("gtcrn", *ONLY_FRAMES)
        for arithmetic in ("float", "int8")
    }
    assert all(set(counts) == set(table.loops) for counts in table.engines.values())


def test_a_file_that_runs_in_c_costs_what_its_engine_does(float_file, default_checkpoint):
    engine = partial(float_engine, default_checkpoint, RECIPES["float"])

    in_c = predict(with_weights(float_file, engine), "cortex-a72")
    in_tflite = predict(float_file, "cortex-a72")

    assert in_c.instructions == load_table().engines["gtcrn_float"]["cortex-a72"]
    assert (in_c.engine, in_tflite.engine) == ("c", "tflite")
    assert in_c.instructions < in_tflite.instructions


def test_what_was_not_counted_is_estimated_by_a_line_and_said(float_file):
    table = load_table()
    counted = {key: entry for key, entry in table.operators.items() if entry.kind != "LOGISTIC"}
    counted["LOGISTIC a"] = Counted("LOGISTIC", "float32", 0, True, {"cortex-a72": 100.0})
    counted["LOGISTIC b"] = Counted("LOGISTIC", "float32", 100, True, {"cortex-a72": 300.0})

    cost = predict(float_file, "cortex-a72", Table({}, table.loops, counted))

    logistic = [op for op in describe_operators(parse(float_file)) if op.kind == "LOGISTIC"]
    expected = sum(100 + 2 * entry.work for entry in logistic)
    assert cost.estimated == len(logistic)
    assert cost.by_kind["LOGISTIC", "float32"][1] == pytest.approx(expected)


def test_an_operator_of_another_side_cuts_a_partition_in_two():
    chain = [operator([0], [1]), operator([1], [2]), operator([2], [3]), operator([3], [4])]

    assert partition_borders(chain, [True] * 4, {4}) == [2]
    assert partition_borders(chain, [True, True, False, True], {4}) == [2, 2]


def test_operators_that_are_ready_do_not_wait_for_another_side():
    # The second one is left to the interpreter; the third does not need it.
    operators = [operator([0], [1]), operator([1], [2]), operator([0], [3]), operator([2, 3], [4])]

    assert partition_borders(operators, [True, False, True, True], {4}) == [3, 3]


def test_a_pad_costs_nothing_where_only_a_convolution_reads_it():
    pad, convolution = operator([0], [1], "PAD"), operator([1], [2], "DEPTHWISE_CONV_2D")

    assert fused_pads([pad, convolution], [True, True]) == {0}
    assert fused_pads([pad, convolution], [True, False]) == set()
    assert fused_pads([pad, operator([1], [2])], [True, True]) == set()
    assert fused_pads([pad, convolution, operator([1], [3])], [True, True, True]) == set()


def test_a_repeated_operator_runs_and_its_copies_agree(float_file):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    model = parse(float_file)
    entries = list(describe_operators(model))
    position = next(i for i, entry in enumerate(entries) if entry.kind == "CONV_2D")

    interpreter = Interpreter(model_content=repeated(model, position, 3), num_threads=1)

    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], np.ones(given["shape"], np.float32))
    interpreter.invoke()
    results = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    assert len(results) == 3
    assert np.abs(results[0]).max() > 0
    np.testing.assert_array_equal(results[0], results[2])


def test_an_unknown_board_is_refused():
    with pytest.raises(UserError, match="no instructions were counted for the board 'x86-64'"):
        find_board("x86-64")
