"""The int8 engine: the bits of a model file in TFLite's reference kernels."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calib_data import clips_folder
from edge_se import Enhancer, core
from edge_se.engines import tflite
from edge_se.engines.generated import GeneratedEngine, load_from_core, prefix
from edge_se.engines.loop import FrameLoop
from edge_se.engines.tflite_micro import MicroStep
from edge_se.errors import UserError
from edge_se.model_file import attach_manifest, attached_weights, find_model, manifest_of
from quant.c.engines import int8_engine
from quant.c.int8_frame import Frame
from quant.c.int8_loops import rolled
from quant.c.int8_moves import BITS, PADDING, Places, blocks
from quant.c.int8_order import Inputs, ordered
from quant.c.int8_planes import find_planes
from quant.c.int8_program import multiplier_of
from quant.c.source import Source
from targets.c.microcontroller import find_core
from targets.c.microcontroller.package import package_files, run_on_host
from targets.emulation.engine import run_engine
from targets.engines import SOURCES, core_sources
from tests.helpers.clips import samples_of

HOP = 256
NETWORKS = ["embedded", "plain_hann", "random", "ul_unas"]


def reference_interpreter(runtime: tflite.Runtime, path: Path, delegate: bool = True) -> Any:
    module = runtime.module
    interpreter = module.Interpreter(
        model_path=str(path),
        num_threads=1,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    return interpreter


@pytest.fixture
def pair(tmp_path, monkeypatch, int8_file):
    """The frame loop on TFLite's reference kernels, and the core's engine, of the same file."""
    if core.load_core() is None:
        pytest.skip("this installation has no compiled core (no C compiler)")

    def make(which: str) -> tuple[FrameLoop, GeneratedEngine]:
        content, path = int8_file(which), tmp_path / f"{which}.tflite"
        manifest = manifest_of(content, which)
        path.write_bytes(attach_manifest(content, manifest, {"int8": int8_engine(content).blob}))
        monkeypatch.setattr(tflite, "create_interpreter", reference_interpreter)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "XNNPACK took none")
            loop = FrameLoop(tflite.TfliteStep(path, "ai_edge_litert"))
        return loop, load_from_core(path, "int8")

    return make


def as_hops(samples: np.ndarray) -> np.ndarray:
    """Whole hops of int16, of float samples [n]."""
    count = len(samples) // HOP * HOP
    return np.rint(np.clip(samples[:count], -1, 1) * 32767).astype(np.int16).reshape(-1, HOP)


def enhanced(engine: Any, hops: np.ndarray) -> np.ndarray:
    out = np.empty_like(hops)
    for hop, result in zip(hops, out, strict=True):
        engine.process(hop, result)
    return out


@pytest.mark.parametrize("which", NETWORKS)
def test_the_engine_has_the_bits_of_the_reference_kernels(pair, noisy, which):
    loop, engine = pair(which)
    # Loud in the middle, with a knock; DC; and softer in the end.
    knock = np.sign(np.sin(np.arange(4000) / 20))
    hops = as_hops(np.concatenate([noisy[0], 8 * noisy[1], knock, 0.01 * noisy[0] + 0.1]))

    expected, found = enhanced(loop, hops), enhanced(engine, hops)

    np.testing.assert_array_equal(found, expected)
    assert np.abs(found).max() > 100
    engine.reset()
    np.testing.assert_array_equal(enhanced(engine, hops[:20]), expected[:20])


@pytest.mark.parametrize("restores", [True, False])
def test_a_package_restores_states_after_a_knock_where_asked_to(pair, int8_file, noisy, restores):
    knock = np.sign(np.sin(np.arange(4000) / 20))
    hops = as_hops(np.concatenate([noisy[0], knock, noisy[0]]))
    until = (len(noisy[0]) + len(knock)) // HOP
    _, engine = pair("embedded")
    made = int8_engine(int8_file("embedded"))

    files = package_files(made, find_core("cortex-m33"), "a file", restores)

    alike = run_on_host(files, hops) == enhanced(engine, hops)
    assert alike[:until].all() and alike[until:].all() == restores


def mixtures(minutes: int) -> Iterator[np.ndarray]:
    """Hops of clips in noise, at levels of all kinds, for so many minutes."""
    clean, noise = (sorted((clips_folder() / name).iterdir()) for name in ("clean", "noise"))
    random, count = np.random.default_rng(0), 0
    while count < minutes * 60 * 16000:
        speech, sounds = (
            samples_of(paths[random.integers(len(paths))]) for paths in (clean, noise)
        )
        gains = 10 ** random.uniform(-1.5, 0.5, 2)
        hops = as_hops(gains[0] * speech + gains[1] * np.resize(sounds, len(speech)))
        count += hops.size
        yield hops


@pytest.mark.slow
@pytest.mark.parametrize(("which", "minutes"), [("embedded", 10), ("random", 1)])
def test_minutes_have_the_bits_of_the_reference_kernels(pair, which, minutes):
    loop, engine = pair(which)

    for hops in mixtures(minutes):
        np.testing.assert_array_equal(enhanced(engine, hops), enhanced(loop, hops))


@pytest.fixture
def both_runtimes(tmp_path, monkeypatch, int8_file) -> tuple[FrameLoop, FrameLoop]:
    """Frame loops of the embedded network, on TFLite's reference kernels and on TFLite Micro."""
    pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")
    content, path = int8_file("embedded"), tmp_path / "model.tflite"
    path.write_bytes(attach_manifest(content, manifest_of(content, "embedded"), {}))
    micro = FrameLoop(MicroStep(path))
    monkeypatch.setattr(tflite, "create_interpreter", reference_interpreter)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "XNNPACK took none")
        return FrameLoop(tflite.TfliteStep(path, "ai_edge_litert")), micro


def require_same_masks(loops: tuple[FrameLoop, FrameLoop], hops: np.ndarray) -> None:
    """Every value of the mask, frame after frame, and what comes out."""
    results = [np.empty_like(hop) for hop, _ in itertools.product(hops[:1], loops)]
    for hop in hops:
        for loop, result in zip(loops, results, strict=True):
            loop.process(hop, result)
        np.testing.assert_array_equal(loops[1]._step.mask, loops[0]._step.mask)
        np.testing.assert_array_equal(results[1], results[0])


def test_tflite_micro_has_the_masks_of_the_reference_kernels(both_runtimes, noisy):
    require_same_masks(both_runtimes, as_hops(np.concatenate([noisy[0], 8 * noisy[1]])))


@pytest.mark.slow
def test_ten_minutes_have_the_masks_of_the_reference_kernels_in_tflite_micro(both_runtimes):
    for hops in mixtures(10):
        require_same_masks(both_runtimes, hops)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "machine", "options"),
    [
        ("embedded", "aarch64", []),
        ("embedded", "aarch64", ["-mcpu=cortex_a55"]),  # with dot products
        ("embedded", "armv7l", []),
        ("ul_unas", "aarch64", []),
    ],
)
def test_emulated_arm_has_the_same_bits(pair, int8_file, noisy, which, machine, options):
    name = prefix(manifest_of(int8_file(which), which).architecture, "int8")
    weights = int8_engine(int8_file(which)).blob
    _, engine = pair(which)
    hops = as_hops(np.concatenate([noisy[0][:8000], 8 * noisy[1][:8000]]))

    found = run_engine(SOURCES / f"{name}.c", weights, hops, machine, options)

    np.testing.assert_array_equal(found, enhanced(engine, hops))


@pytest.mark.parametrize("which", NETWORKS)
def test_a_file_in_8_bits_runs_in_c_unless_it_is_asked_otherwise(tmp_path, int8_file, which):
    if core.load_core() is None:
        pytest.skip("this installation has no compiled core (no C compiler)")
    content, path = int8_file(which), tmp_path / "model.tflite"
    manifest = manifest_of(content, which)
    path.write_bytes(attach_manifest(content, manifest, {"int8": int8_engine(content).blob}))

    told = [Enhancer(path, engine=engine).describe() for engine in (None, "auto", "c", "tflite")]

    assert [words["engine"] for words in told] == ["c", "c", "c", "tflite"]
    assert told[0]["arithmetic"] == "int8" and told[0]["precision"] == "int8"
    path.write_bytes(attach_manifest(content, manifest, {}))
    assert Enhancer(path).describe()["engine"] == "tflite"


def test_weights_of_another_arithmetic_are_no_int8_weights(tmp_path, int8_file):
    if core.load_core() is None:
        pytest.skip("this installation has no compiled core (no C compiler)")
    content, path = int8_file("embedded"), tmp_path / "model.tflite"
    other = attached_weights(find_model("gtcrn").read_bytes())["fixed"]
    path.write_bytes(attach_manifest(content, manifest_of(content, "it"), {"int8": other}))

    with pytest.raises(UserError, match="weights of another network or arithmetic"):
        load_from_core(path, "int8")
    assert Enhancer(path).describe()["engine"] == "tflite"


@pytest.mark.parametrize("which", ["embedded", "ul_unas"])
def test_the_core_has_the_frame_that_every_checkpoint_has(int8_file, which):
    for name, text in core_sources(int8_engine(int8_file(which))).items():
        assert (SOURCES / name).read_text() == text, "run make default-model"


def test_statements_that_come_again_become_loops():
    steps = [f"step(w->bias + {8 * n}, s->x, k.y + {40 + 4 * n}, 3);" for n in range(1, 4)]

    found = rolled(["first(k.y);", *steps, "last(k.y);"])

    assert found == [
        "first(k.y);",
        "ROLLED for (int n = 0; n < 3; n++) {",
        "    step(w->bias + 8 + 8 * n, s->x, k.y + 44 + 4 * n, 3);",
        "}",
        "last(k.y);",
    ]


@pytest.mark.parametrize(
    "other", ["step(k.y + 13);", "step(k.z + 8);", "step(k.y + 8, 1);", "step(w->zero[8]);"]
)
def test_only_even_steps_become_loops(other):
    statements = ["step(k.y);", "step(k.y + 4);", other]

    assert rolled(statements) == statements


@pytest.mark.parametrize(
    ("sizes", "order", "joined"),
    [
        ((32, 16, 5), (2, 0, 1), True),
        ((8, 8, 8), (0, 1, 2), True),
        ((8, 8, 8), (1, 0, 2), False),  # the first one's block is written over the second
        ((8, 8), (0, 1), False),  # the last one's block goes beyond both
    ],
)
def test_parts_are_joined_where_whole_blocks_of_them_can_be_written(sizes, order, joined):
    frame = Frame(Source())
    parts = [frame.buffer(size) for size in sizes]
    for index in order:
        frame.emit([], [parts[index].number << BITS], lambda at: "")

    assert frame.join(np.concatenate([frame.of(part) for part in parts])) == joined


def test_a_file_with_floats_is_refused():
    content = find_model("gtcrn").read_bytes()

    with pytest.raises(UserError, match="not in 8 bits"):
        int8_engine(content)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, (2**30, 0)),
        (1.0, (2**30, 1)),
        (0.0, (0, 0)),
        (2.0**-40, (0, 0)),
        (0.75, (3 * 2**29, 0)),
    ],
)
def test_factors_are_what_tflite_prepares(real, expected):
    assert multiplier_of(real) == expected


TURNS = [
    (48, 32, Inputs(8, 4, 4, 8, 4)),  # quads of outputs, each of its own quarter of the inputs
    (32, 16, Inputs(8, 4, 2, 8, 8)),
    (24, 12, Inputs(8, 4, 2, 6, 1)),  # even outputs of one half, odd ones of the other
    (24, 48, Inputs(16, 12, 3, 4, 4)),  # each quad of four inputs of every twelve
    (16, 10, Inputs(12, 4, 1, 10, 16)),
    (3, 8, Inputs(8, 4, 1, 8, 3)),
]


@pytest.mark.parametrize(("outputs", "inputs", "expected"), TURNS)
def test_only_weights_that_may_not_be_zero_are_multiplied(outputs, inputs, expected):
    random = np.random.default_rng(0)
    own = expected.of(outputs)
    given = random.integers(-128, 128, inputs + 4)
    dense = np.zeros((outputs, inputs + 4), np.int8)
    np.put_along_axis(dense, own, random.integers(1, 127, own.shape).astype(np.int8), 1)
    dense[:, inputs:] = 0
    if expected.apart % 4:  # what is read beyond a group's inputs is the next one's
        dense[np.arange(outputs)[:, None], own[:, expected.apart :]] = 0
    dense[0, own[0, 1]] = 0  # a zero by chance changes nothing

    weight, found = ordered(dense[:, :inputs], dense[:, :inputs] != 0)

    assert found == expected
    numbers = expected.order(outputs)
    if outputs % 4 == 0:
        fours = weight.reshape(outputs // 4, -1, 4, 4).transpose(0, 2, 1, 3)
        weight = fours.reshape(outputs, -1)
    sums = (weight.astype(np.int64) * given[own[numbers]]).sum(axis=1)
    np.testing.assert_array_equal(sums, (dense.astype(np.int64) @ given)[numbers])


def test_layers_in_groups_of_their_own_keep_all_inputs():
    weight, found = ordered(np.eye(16, dtype=np.int8), np.ones((16, 16), bool))

    assert (found, weight.shape) == (Inputs(16, 4, 1, 16, 16), (16, 16))


def neighbouring(width: int = 7) -> Places:
    """Rows [7, 6] of two planes with both neighbours, where zeros lie in buffer 2 or nowhere."""
    padded = np.full((2, width + 2), 2 << BITS)
    padded[:, 1:-1] = (1 << BITS) + 100 + np.arange(2 * width).reshape(2, width)
    padded[:, -1] = PADDING
    return np.concatenate([padded[:, n : n + width] for n in range(3)]).T


def test_weights_of_one_element_are_one():
    random = np.random.default_rng(0)
    rows, kernel = neighbouring(), random.integers(-127, 128, (4, 5, 6)).astype(np.int8)
    values = random.integers(-128, 128, (2, 7))
    before, stride, positions = 2, 2, 4

    planes = find_planes(rows, {2})
    assert planes is not None
    weight, left = planes.merged(kernel, before, stride, positions), planes.left(before)

    assert (planes.step, planes.count, left) == (7, 7, 3)
    assert np.abs(weight).max() > 127 and (weight[1:-1] == weight[1]).all()
    offsets = rows - planes.first[0]
    known = np.where(np.isin(offsets, range(14)), values.ravel()[np.clip(offsets, 0, 13)], 0)
    image = np.pad(known, ((before, 2), (0, 0)))
    wide = np.pad(values, ((0, 0), (left, 9)))
    for position in range(positions):
        expected = np.tensordot(kernel, image[2 * position :][:5], ([1, 2], [0, 1]))
        inputs = wide[:, stride * position :][:, : weight.shape[-1]]
        np.testing.assert_array_equal((weight[position] * inputs).sum(axis=(1, 2)), expected)


def test_rows_of_something_else_are_no_planes():
    assert find_planes(neighbouring()[::-1], {2}) is None
    assert find_planes(neighbouring(), set()) is None


def arrangements() -> Iterator[np.ndarray]:
    """As they come about in a frame, and worse."""
    first, second = (np.arange(264) + (n << BITS) for n in (1, 2))
    shuffled = np.stack([first, second]).T.reshape(33, 16)
    yield first
    yield shuffled
    yield shuffled[:, 8:]
    yield np.concatenate([shuffled, shuffled[::-1]], axis=1)
    yield np.arange(66 * 16).reshape(33, 2, 2, 8).transpose(0, 2, 1, 3).reshape(66, 16)[:65]
    yield np.concatenate([first[:3], second[5:9], first[::-1]])
    yield np.random.default_rng(0).permutation(first)


@pytest.mark.parametrize("places", list(arrangements()))
def test_copies_of_blocks_arrange_elements(places):
    target = (9 << BITS) + np.arange(places.size).reshape(places.shape)
    memory = {}

    for block in blocks(places, target):
        for index in np.ndindex(block.sizes):
            source = block.source + int(np.dot(index, block.source_steps))
            memory[block.target + int(np.dot(index, block.target_steps))] = source

    expected = dict(zip(target.ravel().tolist(), places.ravel().tolist(), strict=True))
    assert memory == expected
