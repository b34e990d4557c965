"""Generated engines from Python: the one built in, a user's own, and what is refused."""

import json
import platform
import shutil
import subprocess
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import quant
from calib_data import clips_folder
from edge_se import Enhancer, core
from edge_se.benchmark import frames_of
from edge_se.commands.inspect import format_description
from edge_se.core.build import FOLDER, BuildError, compile_library, find_compiler
from edge_se.engines import generated, load_engine, tflite
from edge_se.engines.generated import GeneratedEngine, load_compiled, prefix, read_compiled
from edge_se.errors import UserError
from edge_se.inspection import inspect_model
from edge_se.model_file import attach_manifest, attached_weights, find_model, read_model
from edge_se.strength import Strength
from quant.c.engines import float_engine, make_engine
from quant.checkpoints import default_checkpoint_path
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.gtcrn.model import GTCRN
from quant.networks.registry import find_network
from quant.ptq.proof import prove_against_torch
from targets.boards import find_board, load_platforms
from targets.cross import find_cross_compiler
from targets.emulation.engine import run_engine
from targets.engines import SOURCES, core_sources, silent
from tests.helpers.engines import float_library


@pytest.fixture(scope="module")
def library():
    """The compiled core of this installation."""
    loaded = core.load_core()
    if loaded is None:
        pytest.skip("this installation has no compiled core (no C compiler)")
    return loaded


@pytest.fixture(scope="module")
def float_model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("float") / "float.tflite"
    quant.quantize(load_checkpoint(default_checkpoint_path()), precision="float").save(path)
    return path


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    """The default network as `edge-se compile` makes it for this machine."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("compiled") / "default.so"
    path.write_bytes(float_library(compiler))
    return path


@pytest.fixture(scope="module")
def signal() -> np.ndarray:
    """Noise in bursts of changing level, float32."""
    noise = np.random.default_rng(0).standard_normal(32000)
    return (0.1 * noise * (1 + np.sin(np.arange(32000) / 2000))).astype(np.float32)


def with_weights(folder: Path, weights: dict[str, bytes]) -> Path:
    """The built-in model with other weights for the C engine."""
    data, manifest = read_model(find_model("gtcrn"))
    path = folder / "other.tflite"
    path.write_bytes(attach_manifest(data, manifest, weights))
    return path


@pytest.fixture(scope="module")
def noisy() -> list[np.ndarray]:
    """Something short to calibrate with, float32."""
    speech, _ = soundfile.read(clips_folder() / "clean" / "en_03.flac", dtype="float32")
    return [speech[8000:24000]]


@pytest.mark.parametrize("arithmetic", generated.ARITHMETICS)
def test_the_core_has_the_frame_that_every_checkpoint_has(arithmetic, noisy):
    checkpoint = load_checkpoint(default_checkpoint_path())

    sources = core_sources(make_engine(checkpoint, arithmetic, noisy, silent))

    for name, text in sources.items():
        assert (SOURCES / name).read_text() == text, "run make default-model"


def test_the_built_in_model_carries_weights_of_its_checkpoint():
    data, manifest = read_model(find_model("gtcrn"))
    checkpoint = load_checkpoint(default_checkpoint_path())
    wanted = float_engine(checkpoint, RECIPES["float"]).blob

    weights = attached_weights(data)

    assert manifest.checkpoint["sha256"] == checkpoint.sha256
    assert set(weights) == {"float", "fixed"}
    # Floats first: other processors may differ in the last digit.
    found, expected = (np.frombuffer(blob[32:90000], "<f4") for blob in (weights["float"], wanted))
    assert weights["float"][:20] == wanted[:20]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


LARGEST_LIBRARY = {"float": 150_000, "fixed": 80_000, "int8": 180_000}
AVX2 = core.VARIANTS["_core_avx2.so"][0]


def assert_small(folder: Path, command: list[str], options: tuple[str, ...] = ()) -> None:
    """Compile both engines, each for itself, and look at the files' sizes in bytes."""
    for arithmetic, largest in LARGEST_LIBRARY.items():
        source, path = SOURCES / f"{prefix('gtcrn', arithmetic)}.c", folder / f"{arithmetic}.so"
        compile_library(path, [source], command, [*options, "-I", str(FOLDER)])
        assert path.stat().st_size <= largest, arithmetic


@pytest.mark.parametrize("target", load_platforms().values(), ids=lambda target: target.key)
def test_engines_are_small_on_every_platform(tmp_path, target):
    assert_small(tmp_path, find_cross_compiler(target))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "options"),
    [("gcc", ()), ("clang", ()), ("gcc", AVX2), ("clang", AVX2), ("aarch64-linux-gnu-gcc", ())],
)
def test_engines_are_small_with_other_compilers(tmp_path, compiler, options):
    if shutil.which(compiler) is None or (options and platform.machine() != "x86_64"):
        pytest.skip(f"no {compiler} with these options here")

    assert_small(tmp_path, [compiler], options)


def test_the_engine_built_in_equals_the_float_model(library, float_model, signal):
    expected = Enhancer(float_model, engine="tflite").enhance(signal)

    found = Enhancer(float_model, engine="c").enhance(signal)

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def in_the_world() -> np.ndarray:
    """Speech, a knock of 0.25 s, speech with DC, soft speech with DC: float32."""
    speech, _ = soundfile.read(clips_folder() / "clean" / "en_03.flac", dtype="float32")
    speech += 0.005 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    knock = np.sign(np.sin(np.arange(4000) / 20 + 0.01)).astype(np.float32)
    return np.concatenate([speech[:32000], knock, speech[32000:] + 0.1, 0.02 * speech + 0.1])


def test_the_float_engine_has_the_float_model_s_front_end(library, float_model, in_the_world):
    expected = Enhancer(float_model, engine="tflite").enhance(in_the_world)

    found = Enhancer(float_model, engine="c").enhance(in_the_world)

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("stft", ["float", "fixed"])
def test_a_knock_and_dc_leave_no_trace_in_c(library, in_the_world, stft):
    begin, until = 36000, len(in_the_world) // 2
    plain = np.concatenate([in_the_world[:32000], in_the_world[begin:until] - np.float32(0.1)])
    expected = Enhancer("gtcrn", engine="c", stft=stft).enhance(plain)[32000 + 9600 :]

    found = Enhancer("gtcrn", engine="c", stft=stft).enhance(in_the_world)[begin + 9600 : until]

    error = np.square(found - expected).sum() / np.square(expected).sum()
    assert 10 * np.log10(error) < -15


def test_the_fixed_engine_takes_and_gives_int16(library):
    speech, _ = soundfile.read(clips_folder() / "clean" / "en_03.flac", dtype="float32")
    speech += 0.005 * np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    enhancer = Enhancer("gtcrn", engine="c", stft="fixed")
    expected = Enhancer("gtcrn", engine="c").enhance(speech)

    found = enhancer.enhance(speech)

    assert enhancer.sample_dtype == np.int16
    error = np.square(found - expected).sum() / np.square(expected).sum()
    assert 10 * np.log10(error) < -20


@pytest.mark.parametrize("strength", [Strength(12.0), Strength(20.0, 0.3), Strength(0.0)])
def test_the_engine_built_in_takes_less_away_as_the_float_model_does(
    library, float_model, signal, strength
):
    enhancers = [Enhancer(float_model, engine=engine) for engine in (None, "c")]
    for enhancer in enhancers:
        enhancer.strength = strength

    expected, found = (enhancer.enhance(signal) for enhancer in enhancers)

    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("float", 1e-6), ("fixed", 2 / 32768)])
def test_an_engine_mixes_the_input_in_to_the_sample(library, signal, arithmetic, tolerance):
    enhancer = Enhancer("gtcrn", engine="c", stft=arithmetic)
    full = enhancer.enhance(signal)
    enhancer.mix = 0.25

    found = enhancer.enhance(signal)

    np.testing.assert_allclose(found, 0.75 * full + 0.25 * signal, rtol=0, atol=tolerance)


@pytest.mark.parametrize("arithmetic", ["float", "fixed"])
def test_an_engine_keeps_its_strength_across_resets(library, signal, arithmetic):
    enhancer = Enhancer("gtcrn", engine="c", stft=arithmetic)
    enhancer.max_attenuation_db, enhancer.mix = 6, 0.5

    first = enhancer.enhance(signal)

    np.testing.assert_array_equal(enhancer.enhance(signal), first)


def test_a_models_strength_holds_in_c_too(library, tmp_path, signal):
    data, manifest = read_model(find_model("gtcrn"))
    path = tmp_path / "soft.tflite"
    path.write_bytes(attach_manifest(data, replace(manifest, strength=Strength(6.0))))
    asked = Enhancer("gtcrn", engine="c")
    asked.max_attenuation_db = 6

    found = Enhancer(path, engine="c").enhance(signal)

    np.testing.assert_array_equal(found, asked.enhance(signal))


@pytest.mark.parametrize("steps", [(-1, -(2**31)), (32769, 2**31 - 1)])
def test_steps_out_of_reach_are_the_nearest_within(library, signal, steps):
    """As C callers may give them."""
    engine = load_engine(find_model("gtcrn"), "c", stft="fixed")
    assert isinstance(engine, GeneratedEngine)
    hops = (30000 * signal[:1024]).astype(np.int16).reshape(4, 256)
    outputs = np.zeros((2, *hops.shape), np.int16)
    for given, output in zip((steps, [min(max(s, 0), 32768) for s in steps]), outputs, strict=True):
        engine.reset()
        engine._set_strength(engine._state.ctypes.data, *given)
        for hop, out in zip(hops, output, strict=True):
            engine.process(hop, out)

    np.testing.assert_array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize(("arithmetic", "tolerance"), [("float", 1e-3), ("fixed", 0.05)])
def test_an_engine_tells_speech_as_the_float_model_does(
    library, float_model, arithmetic, tolerance
):
    speech, _ = soundfile.read(clips_folder() / "clean" / "en_03.flac", dtype="float32")
    noisy = speech + 0.01 * np.random.default_rng(0).standard_normal(len(speech)).astype("f")
    here, there = Enhancer("gtcrn", engine="c", stft=arithmetic), Enhancer(float_model)
    here.mix = 0.5  # which changes nothing

    def heard(enhancer: Enhancer) -> np.ndarray:
        frames = noisy[: len(noisy) // 256 * 256].astype(np.float32).reshape(-1, 256)
        return np.array(
            [enhancer.speech_probability for frame in frames if enhancer.process(frame) is not None]
        )

    found, expected = heard(here), heard(there)
    assert found.min() < 0.1 < 0.9 < found.max() <= 1
    assert np.abs(found - expected).mean() < tolerance


@pytest.mark.parametrize("which", ["float", "default", "c float", "c fixed"])
def test_finite_samples_give_finite_samples(library, float_model, which):
    engine, _, stft = which.rpartition(" ") if which.startswith("c ") else ("", "", "")
    model = float_model if which == "float" else "gtcrn"
    enhancer = Enhancer(model, engine=engine or None, stft=stft or None)
    random = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "samples of a frame exceed 16")
        for size in (3e38, 1e15, 1e3, 1):
            for _ in range(20):
                frame = np.float32(size) * random.uniform(-1, 1, 256).astype(np.float32)
                assert np.isfinite(enhancer.process(frame)).all()
    for _ in range(20):
        assert np.isfinite(enhancer.process(np.zeros(256, np.float32))).all()


def test_c_runs_by_default_what_it_computes_alike(library, float_model):
    def engines(model: Path | str) -> list[str]:
        asked = (None, "auto", "c", "tflite")
        return [Enhancer(model, engine=engine).describe()["engine"] for engine in asked]

    assert engines(float_model) == ["c", "c", "c", "tflite"]
    # It is partly in 8 bits, and carries weights of other arithmetics.
    assert engines("gtcrn") == ["tflite", "tflite", "c", "tflite"]
    assert Enhancer(float_model, runtime="ai_edge_litert").describe()["engine"] == "tflite"


def test_a_model_runs_in_tflite_where_there_is_no_core(monkeypatch, float_model):
    monkeypatch.setattr(generated, "load_core", lambda: None)

    assert Enhancer(float_model).describe()["engine"] == "tflite"


def test_inspect_needs_no_tflite_runtime_for_what_runs_in_c(library, float_model, monkeypatch):
    monkeypatch.setattr(tflite, "_import_runtime", lambda name: None)

    described = inspect_model(float_model)

    assert described["engines"]["c"] == "by default, in float, up to rounding"
    assert described["engines"]["tflite"].startswith("no: a TFLite runtime is not installed")
    assert "operators" not in format_description(described)
    with pytest.raises(UserError, match="not installed"):
        inspect_model(find_model("gtcrn"))


def test_reset_forgets_everything(library, signal):
    enhancer = Enhancer("gtcrn", engine="c")
    first = enhancer.process(signal[:256])
    for start in range(256, 4096, 256):
        enhancer.process(signal[start : start + 256])

    enhancer.reset()

    np.testing.assert_array_equal(enhancer.process(signal[:256]), first)


def test_a_users_float_file_runs_in_c_beside_the_built_in_one(library, tmp_path, signal):
    torch.manual_seed(0)
    checkpoint = Checkpoint(GTCRN().eval(), find_network("gtcrn"), "random", "0" * 64)
    path = tmp_path / "own.tflite"
    quant.quantize(checkpoint, precision="float").save(path)
    expected = [Enhancer(path).enhance(signal), Enhancer("gtcrn", engine="c").enhance(signal)]
    own, built_in = Enhancer(path, engine="c"), Enhancer("gtcrn", engine="c")

    found = np.array(
        [
            [enhancer.process(frame) for enhancer in (own, built_in)]
            for frame in frames_of(signal, 256, np.dtype(np.float32))
        ]
    )

    for enhanced, wanted in zip(
        found.swapaxes(0, 1).reshape(2, -1)[:, 256:], expected, strict=True
    ):
        size = min(len(enhanced), len(wanted))
        np.testing.assert_allclose(enhanced[:size], wanted[:size], rtol=0, atol=1e-4)


def test_a_users_16_bit_file_runs_in_integers(library, tmp_path, noisy):
    (tmp_path / "clips").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", noisy[0], 16000)
    path = tmp_path / "own.tflite"

    quant.quantize(None, tmp_path / "clips", "int16x8", recovery_minutes=0).save(path)

    enhancer = Enhancer(path, engine="c")
    assert set(attached_weights(path.read_bytes())) == {"fixed"}
    expected = Enhancer("gtcrn", engine="c").enhance(noisy[0])
    error = np.square(enhancer.enhance(noisy[0]) - expected).sum() / np.square(expected).sum()
    assert 10 * np.log10(error) < -20


def test_a_file_without_weights_says_what_to_do(library, tmp_path):
    with pytest.raises(
        UserError, match=r"no weights for the C engine in float; .*--precision float"
    ):
        Enhancer(with_weights(tmp_path, {}), engine="c")


@pytest.mark.parametrize(
    ("options", "carried"), [({"high_bands": 48}, {"float"}), ({"channels": 32}, set())]
)
def test_a_network_of_another_size_is_not_said_to_run_in_the_core(
    library, tmp_path, options, carried
):
    model = GTCRN(**options).eval()
    checkpoint = Checkpoint(model, find_network("gtcrn"), "random", "0" * 64, options)
    path = tmp_path / "own.tflite"

    quant.quantize(checkpoint, precision="float").save(path)

    assert set(attached_weights(path.read_bytes())) == carried
    assert inspect_model(path)["engines"]["c"].startswith("no: ")
    with pytest.raises(UserError, match=r"weights of another network .*compile|of the usual size"):
        Enhancer(path, engine="c")


def spoiled(blob: bytes, offset: int, content: bytes, checked: bool = True) -> bytes:
    """Weights with some bytes changed, and a checksum that fits them."""
    changed = bytearray(blob)
    changed[offset : offset + len(content)] = content
    if checked:
        changed[20:24] = zlib.crc32(changed[24:]).to_bytes(4, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda float_, fixed: b"", "no weights of edge-se"),
        (lambda float_, fixed: fixed, "weights of another network or arithmetic"),
        (lambda float_, fixed: float_[:-4], "weights of another size"),
        (lambda float_, fixed: float_ + b"more", "weights of another size"),
        (lambda float_, fixed: spoiled(float_, 0, b"esew"), "no weights of edge-se"),
        (lambda float_, fixed: spoiled(float_, 4, b"\2"), "weights of another version"),
        (lambda float_, fixed: spoiled(float_, 5000, b"\0\1", checked=False), "damaged weights"),
        (
            lambda float_, fixed: spoiled(float_, 32, b"\0\0\xc0\x7f"),
            "weights with a number out of its bounds",
        ),
    ],
)
def test_weights_that_are_not_the_engines_are_refused(library, tmp_path, spoil, message):
    weights = attached_weights(find_model("gtcrn").read_bytes())
    path = with_weights(tmp_path, {"float": spoil(weights["float"], weights["fixed"])})

    with pytest.raises(UserError, match=rf"other.tflite can't run in C: it has {message}"):
        Enhancer(path, engine="c")


@pytest.mark.parametrize("arithmetic", ["float", "fixed"])
def test_bands_beyond_the_bins_are_refused(library, tmp_path, arithmetic, noisy):
    engine = make_engine(load_checkpoint(default_checkpoint_path()), arithmetic, noisy, silent)
    offset = 32
    for name, (kind, count) in engine.weights.fields.items():
        if name == "merge_first":
            break
        offset += count * {"float": 4, "int32_t": 4, "int16_t": 2, "uint16_t": 2, "int8_t": 1}[kind]
    path = with_weights(tmp_path, {arithmetic: spoiled(engine.blob, offset, b"\xff\xff")})

    with pytest.raises(UserError, match="weights whose bands lie beyond the bins"):
        Enhancer(path, engine="c", stft=arithmetic)


def test_without_the_core_there_is_no_engine(monkeypatch):
    monkeypatch.setattr(generated, "load_core", lambda: None)

    with pytest.raises(UserError, match="part of the compiled core, which this installation has"):
        Enhancer("gtcrn", engine="c")


def test_inspect_says_which_engines_run_a_model(library, tmp_path):
    own, other = (
        inspect_model(path)["engines"] for path in (find_model("gtcrn"), with_weights(tmp_path, {}))
    )

    assert own["tflite"] == other["tflite"] == "by default"
    assert own["c"] == "with --engine c, in float or fixed"
    assert other["c"].startswith("no: it has no weights that an engine")


def test_a_compiled_network_is_a_model_file(compiled, float_model, signal):
    expected = Enhancer(float_model, engine="tflite").enhance(signal)
    enhancer = Enhancer(compiled)

    np.testing.assert_allclose(enhancer.enhance(signal), expected, rtol=0, atol=1e-4)
    assert enhancer.describe()["file"] == str(compiled)
    assert read_compiled(compiled).checkpoint["name"] == default_checkpoint_path().name
    assert inspect_model(compiled)["engines"] == {"c": "by default"}


def test_a_library_that_computes_something_else_is_not_handed_out(compiled):
    torch.manual_seed(0)
    other = Checkpoint(GTCRN().eval(), find_network("gtcrn"), "random", "0" * 64)

    with pytest.raises(UserError, match=r"differs from its simulation .* so it was not written"):
        prove_against_torch(compiled.read_bytes(), other, other.signal, engine="c")


def changed(path: Path, compiled: Path, **changes) -> Path:
    """The library with another manifest, whose hash fits."""
    data, manifest = read_model(compiled)
    path.write_bytes(attach_manifest(data, replace(manifest, **changes)))
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (lambda m: {"signal": replace(m.signal, hop=128)}, "says hop 128, and the engine .* 256"),
        (lambda m: {"signal": replace(m.signal, hop=511)}, "says hop 511"),
        (lambda m: {"signal": replace(m.signal, sample_rate=48000)}, "sample rate 48000"),
        (lambda m: {"lookahead_frames": 2}, "says latency 768, and the engine .* has 256"),
        (lambda m: {"checkpoint": {"sha256": "ab" * 32}}, "says checkpoint abab"),
        (lambda m: {"checkpoint": {}}, "says checkpoint None"),
        (lambda m: {"precision": "fixed"}, "has no weights in fixed"),
        (lambda m: {"precision": "int16x8"}, "computes in int16x8, which this edge-se can't run"),
    ],
)
def test_a_library_that_is_not_what_its_manifest_says_is_refused(
    compiled, tmp_path, changes, complaint
):
    path = changed(tmp_path / "m.so", compiled, **changes(read_compiled(compiled)))

    with pytest.raises(UserError, match=complaint):
        Enhancer(path)


def test_an_engine_built_in_does_not_run_a_model_of_another_signal(library, tmp_path):
    data, manifest = read_model(find_model("gtcrn"))
    signal = replace(manifest.signal, hop=128)
    path = tmp_path / "m.tflite"
    path.write_bytes(attach_manifest(data, replace(manifest, signal=signal)))

    with pytest.raises(UserError, match="says hop 128"):
        Enhancer(path, engine="c")


CONSTRUCTOR = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((constructor)) static void run(void) { fclose(fopen(getenv("RAN"), "w")); }
"""


def with_constructor(folder: Path, manifest) -> Path:
    """A library that leaves a file behind when it is loaded."""
    (folder / "c.c").write_text(CONSTRUCTOR)
    path = folder / "m.so"
    subprocess.run([*find_compiler(), "-shared", "-fPIC", folder / "c.c", "-o", path], check=True)
    path.write_bytes(attach_manifest(path.read_bytes(), manifest))
    return path


def test_a_library_is_not_run_to_be_inspected(compiled, tmp_path, monkeypatch):
    path = with_constructor(tmp_path, read_compiled(compiled))
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))

    assert inspect_model(path)["manifest"]["architecture"] == "gtcrn"

    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("flaw", ["body", "manifest", "archive", "none", "arithmetic"])
def test_a_library_that_is_refused_was_not_run(compiled, tmp_path, monkeypatch, flaw):
    manifest = read_compiled(compiled)
    if flaw == "arithmetic":
        manifest = replace(manifest, precision="quaternion")
    path = with_constructor(tmp_path, manifest)
    data = bytearray(path.read_bytes())
    place = {"body": 500, "manifest": data.rfind(b"gtcrn"), "archive": len(data) - 90}.get(flaw)
    if place is not None:
        data[place] ^= 4
    path.write_bytes(data[: data.rfind(b"PK\3\4")] if flaw == "none" else data)
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))

    with pytest.raises(UserError):
        Enhancer(path)

    assert not (tmp_path / "ran").exists()


def test_a_compiled_network_is_benchmarked(compiled, edge_se, tmp_path):
    result = edge_se("benchmark", "--model", compiled, "--seconds", 0.2, "--json", "report.json")

    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["model"]["engine"], report["model"]["precision"]) == ("c", "float")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no model file"),
        (b"\x7fELF none", "library without an edge-se"),
    ],
)
def test_what_is_no_compiled_network_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.so").write_bytes(content)

    with pytest.raises(UserError, match=message):
        load_compiled(tmp_path / "m.so")


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine is what is compiled for")
def test_a_network_compiled_for_a_board_stays_there(tmp_path):
    compiler = find_cross_compiler(find_board("pi4").platform)
    data = float_library(compiler)
    (tmp_path / "pi4.so").write_bytes(data)

    with pytest.raises(UserError, match="has to be compiled for this machine"):
        Enhancer(tmp_path / "pi4.so")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--out", "engine.dll"), "engine.dll names neither a library"),
        (("--out", "engine.so", "--board", "pi9"), "there is no board 'pi9'"),
        (("absent.tar", "--out", "engine.so"), "cannot read checkpoint absent.tar"),
    ],
)
def test_the_command_says_what_is_wrong(edge_se, tmp_path, arguments, complaint):
    result = edge_se("compile", *arguments)

    assert result.returncode == 2
    assert complaint in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_compiles_for_a_board(edge_se, tmp_path):
    result = edge_se("compile", "--board", "armv7", "--out", "engine.so")

    assert result.returncode == 0, result.stderr
    assert "in float for any 32-bit Arm board" in result.stdout
    assert (tmp_path / "engine.so").read_bytes()[18:20] == b"\x28\0"


@pytest.mark.slow
@pytest.mark.parametrize(("arithmetic", "tolerance"), [("float", 1e-5), ("fixed", 0)])
def test_the_engine_computes_the_same_on_emulated_32_bit_arm(
    library, tool, signal, arithmetic, tolerance
):
    for name in ("apt-get", "dpkg-deb"):
        tool(name)
    here = Enhancer("gtcrn", engine="c", stft=arithmetic)
    frames = frames_of(signal, 256, here.sample_dtype)
    expected = np.stack([here.process(frame) for frame in frames])
    weights = attached_weights(find_model("gtcrn").read_bytes())[arithmetic]

    enhanced = run_engine(SOURCES / f"{prefix('gtcrn', arithmetic)}.c", weights, frames, "armv7l")

    np.testing.assert_allclose(enhanced, expected, rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ["float", "fixed"])
def test_the_engine_computes_the_same_on_an_emulated_pi4(tool, edge_se, tmp_path, arithmetic):
    for name in ("apt-get", "dpkg-deb", "gcc"):
        tool(name)

    result = edge_se(
        *("boards", "emulate", "pi4", "--", "benchmark", "--model", "gtcrn", "--engine", "c"),
        *("--stft", arithmetic, "--seconds", 0.5, "--json", "report.json"),
    )

    assert result.returncode == 0, result.stderr
    agreement = json.loads((tmp_path / "report.json").read_text())["agreement"]
    assert agreement["largest_difference"] <= {"float": 1e-5, "fixed": 0}[arithmetic]


def test_quantize_writes_the_strength_into_the_file(tmp_path, signal):
    asked = Strength(15.0, 0.125)
    made = quant.quantize(precision="float", strength=asked)
    made.save(tmp_path / "soft.tflite")

    found = Enhancer(tmp_path / "soft.tflite")

    assert found.strength == asked == made.manifest.strength
    found.strength = Strength()
    plain = quant.quantize(precision="float")
    plain.save(tmp_path / "plain.tflite")
    assert plain.manifest.strength == Strength()
    expected = Enhancer(tmp_path / "plain.tflite").enhance(signal)
    np.testing.assert_array_equal(found.enhance(signal), expected)
