"""Valid files of every kind, small ones, which the fuzzer damages; the same ones every time."""

import contextlib
import hashlib
import io
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.containers import pack_bundle, sign_ogg
from tests.fuzz.runner import IN_MEMORY
from tests.helpers.releases import BARE_BOARD, add_release, bundle_files, description

Seeds = dict[str, bytes]

_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-fixtures-", dir=IN_MEMORY)
FIXTURES = Path(_FOLDER.name)  # whole files that commands take beside the damaged one
TINY, SEPARATOR = FIXTURES / "tiny.tflite", FIXTURES / "separator.tflite"
NOISY, CLIPS, TOY = FIXTURES / "noisy.wav", FIXTURES / "clips", FIXTURES / "toy.pt"
RELEASE = hashlib.sha256(bundle_files("m2.tflite")["SHA256SUMS"]).hexdigest()[:12]
BUNDLE, FACTS = FIXTURES / "bundle.tar.gz", FIXTURES / "facts.json"


# Audio ----------------------------------------------------------------------------------------


def sound(
    container: str, subtype: str, channels: int = 1, rate: int = 16000, seconds: float = 0.1
) -> bytes:
    """An audio file of libsndfile's, of noise."""
    import soundfile

    buffer = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def write_models() -> None:
    """The tiny models, and a recording for them."""
    from tests.helpers.tiny_model import write_tiny
    from tests.helpers.tiny_separator import write_separator

    write_tiny(TINY, "int8")
    write_separator(SEPARATOR)
    NOISY.write_bytes(sound("WAV", "PCM_16"))


def wave() -> Seeds:
    """WAV files of many sample formats."""
    return plain_wave() | {
        "stereo24.wav": sound("WAVEX", "PCM_24", 2, 44100),
        "float.wav": sound("WAV", "FLOAT", 1, 8000),
        "eight.wav": sound("WAV", "PCM_U8"),
        "law.wav": sound("WAV", "ULAW"),
        "adpcm.wav": sound("WAV", "MS_ADPCM"),
        "gsm.wav": sound("WAV", "GSM610", 1, 8000),
    }


def plain_wave() -> Seeds:
    """WAV files that the standard library reads."""
    write_models()
    plain = sound("WAV", "PCM_16")
    return {
        "plain.wav": plain,
        "stereo.wav": sound("WAV", "PCM_16", 2),
        "described.wav": plain[:12] + struct.pack("<4sI", b"LIST", 4) + b"INFO" + plain[12:],
        "piped.wav": plain[:4] + b"\xff" * 4 + plain[8:40] + b"\xff" * 4 + plain[44:],
    }


def flac() -> Seeds:
    """FLAC files, one with an unknown sample count."""
    write_models()
    plain = sound("FLAC", "PCM_16")
    return {
        "plain.flac": plain,
        "stereo24.flac": sound("FLAC", "PCM_24", 2, 44100),
        "piped.flac": plain[:21] + bytes([plain[21] & 0xF0, 0, 0, 0, 0]) + plain[26:],
    }


def ogg() -> Seeds:
    """Ogg files of both codecs, always with the same serial number."""
    write_models()
    return {
        "mono.ogg": sign_ogg(sound("OGG", "VORBIS")),
        "stereo.ogg": sign_ogg(sound("OGG", "VORBIS", 2, 44100)),
        "speech.opus": sign_ogg(sound("OGG", "OPUS", 1, 48000)),
    }


def other_audio() -> Seeds:
    """The other formats of libsndfile."""
    write_models()
    return {
        "plain.aiff": sound("AIFF", "PCM_16"),
        "float.au": sound("AU", "FLOAT"),
        "plain.caf": sound("CAF", "PCM_16"),
        "alac.caf": sound("CAF", "ALAC_16"),
        "plain.w64": sound("W64", "PCM_16"),
        "plain.rf64": sound("RF64", "PCM_16"),
        "plain.mp3": sound("MP3", "MPEG_LAYER_III"),
    }


# Models ---------------------------------------------------------------------------------------


def tflite() -> Seeds:
    """The built-in model and the tiny ones, of an enhancer and of a separator."""
    from edge_se.model_file import find_model
    from tests.helpers.tiny_model import write_tiny

    write_models()
    write_tiny(FIXTURES / "float.tflite")
    (FIXTURES / "gtcrn.tflite").write_bytes(find_model("gtcrn").read_bytes())
    enhancers = ("gtcrn.tflite", "tiny.tflite", "float.tflite")
    enhance_by(*enhancers)
    names = (*enhancers, SEPARATOR.name)
    return {name: (FIXTURES / name).read_bytes() for name in names}


def with_weights() -> Seeds:
    """Models that carry weights for the C engine: the built-in one, and one in 8 bits."""
    from edge_se.model_file import attach_manifest, manifest_of
    from quant.c.engines import int8_engine
    from quant.checkpoints import default_checkpoint_path
    from quant.graph.recipes import find_recipe
    from quant.networks.checkpoint import load_checkpoint
    from quant.ptq.pipeline import build_quantized, calibrate_checkpoint, find_ranges

    recipe = find_recipe("int8")
    heard = [0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)]
    checkpoint = load_checkpoint(default_checkpoint_path())
    calibrated = calibrate_checkpoint(checkpoint, heard, recipe, lambda stage, done, total: None)
    content = build_quantized(calibrated, recipe, find_ranges(calibrated, recipe), {})
    weights = {"int8": int8_engine(content).blob}
    return {
        "gtcrn.tflite": tflite()["gtcrn.tflite"],
        "int8.tflite": attach_manifest(content, manifest_of(content, "the seed"), weights),
    }


def enhance_by(*names: str) -> None:
    """What valid models make of the recording, as NAME.wav: a damaged one has to make the same."""
    for name in names:
        arguments = ("enhance", NOISY, FIXTURES / f"{name}.wav", "--model", FIXTURES / name)
        run_command(*arguments)


def run_command(*arguments: object) -> None:
    """Run a command that has to succeed."""
    import edge_se.cli

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert edge_se.cli.main([str(argument) for argument in arguments]) == 0


def onnx() -> Seeds:
    """The tiny model as ONNX."""
    from tests.helpers.tiny_onnx import write_tiny_onnx

    write_models()
    return {"tiny.onnx": write_tiny_onnx(FIXTURES / "tiny.onnx").read_bytes()}


def compiled() -> Seeds:
    """The built-in network as a C engine; it is made by a process that takes torch away with it."""
    write_models()
    command = [sys.executable, "-m", "edge_se", "compile", "--out", str(FIXTURES / "engine.so")]
    subprocess.run(command, check=True, capture_output=True)
    enhance_by("engine.so")
    return {"engine.so": (FIXTURES / "engine.so").read_bytes()}


def raw_audio() -> Seeds:
    """Samples of raw audio."""
    write_models()
    return {"samples": sound("WAV", "PCM_16")[44:]}


# Checkpoints, and what goes with them ---------------------------------------------------------


def register_toy() -> Any:
    """Make a network known that is quantized in milliseconds, and write its weights and clips."""
    import torch

    from edge_se.signal import Signal
    from quant.networks.registry import NETWORKS, register
    from tests.helpers.running import randomize
    from tests.helpers.toy_network import toy_network

    torch.set_num_threads(1)
    NETWORKS.clear()  # every search builds all that there are
    hears = Signal(sample_rate=16000, window=256, hop=128, window_function="hann")
    toy = toy_network(hears, units=4)
    register(toy)
    network = randomize(toy.build(), seed=0)
    torch.save(network.state_dict(), TOY)
    write_clips()
    return network


def write_clips() -> None:
    """Recordings of 0.5 s, just long enough to calibrate with."""
    CLIPS.mkdir(exist_ok=True)
    for index in range(4):
        (CLIPS / f"{index}.wav").write_bytes(sound("WAV", "PCM_16", seconds=0.5))


def clips() -> Seeds:
    """Recordings to calibrate with."""
    register_toy()
    return {
        "plain.wav": sound("WAV", "PCM_16", seconds=0.5),
        "float.wav": sound("WAV", "FLOAT", seconds=0.5),
        "eight.wav": sound("WAV", "PCM_U8", 2, 8000, seconds=0.5),
    }


def folder() -> Seeds:
    """Recordings, among others in a folder."""
    write_clips()
    return wave()


def saved(content: Any, legacy: bool = False) -> bytes:
    """What torch.save writes."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def pickles() -> Seeds:
    """Checkpoints of torch, in both forms, with and without other things."""
    weights = register_toy().state_dict()
    training = {"epoch": 3, "model": weights, "optimizer": {"state": {}, "lr": 1e-3}}
    return {
        "toy.pt": saved(weights),
        "toy.tar": saved(training),
        "old.pt": saved(weights, legacy=True),
        "old.tar": saved(training, legacy=True),
    }


def safetensors() -> Seeds:
    """Weights alone, and with a network's name."""
    from safetensors.torch import save

    from quant.networks.checkpoint import network_metadata

    weights = register_toy().state_dict()
    return {
        "named.safetensors": save(weights, network_metadata("toy", {})),
        "plain.safetensors": save(weights),
    }


def ranges() -> Seeds:
    """Ranges of the toy's tensors, as they were saved."""
    register_toy()
    path = FIXTURES / "ranges.json"
    made = ("--out", FIXTURES / "toy.tflite", "--save-ranges", path)
    run_command("quantize", TOY, "--precision", "int8", "--calibration-clips", CLIPS, *made)
    return {"ranges.json": path.read_bytes()}


def recipes() -> Seeds:
    """Recipes as people write them."""
    register_toy()
    ends = 'name = "ends"\ndefault = "int8"\nranges = "min-max"\nlevel_dbfs = -25\n'
    override = "\n[[overrides]]\npattern = '^widen'\nprecision = \"float\"\n"
    return {
        "ends.toml": (ends + override).encode(),
        "plain.toml": b'default = "dynamic"\n',
        "wide.toml": ('default = "int16x8"\n' + 2 * override).encode(),
    }


def options() -> Seeds:
    """Command lines as JSON, with an option of every kind."""
    register_toy()
    write_models()
    bundle()
    heard = ("enhance", NOISY, "out.wav", "--model", TINY, "--engine", "tflite", "--stft", "float")
    separated = ("separate", NOISY, "--model", SEPARATOR, "--out-dir", "out")
    chosen = (
        "--precision",
        "int8",
        "--level-dbfs",
        -25,
        "--range-method",
        "mse",
        "--board",
        "pi4",
        "--recover",
        0,
    )
    budget = ("--recover-clean", 0, "--quality-budget", 0.02, "--out", "out.tflite")
    measured = ("--seconds", 0.1, "--max-rtf", 9, "--json", "out.json")
    lines = {
        "enhance": heard,
        "separate": (*separated, "--aggressiveness", 0.5, "--split-bin", 3),
        "inspect": ("inspect", TINY, "--runtime", "ai_edge_litert", "--json", "out.json"),
        "benchmark": ("benchmark", "--model", TINY, *measured),
        "quantize": ("quantize", TOY, "--calibration-clips", CLIPS, *chosen, *budget),
        "convert": ("convert", TOY, "--architecture", "toy", "--out", "out.onnx"),
        "boards": ("boards", "--json", "out.json"),
        "deploy": ("deploy", "board", "--list", "--root", "~/x", "--max-rtf", 0.5),
    }
    return {name: json.dumps([str(part) for part in line]).encode() for name, line in lines.items()}


# Bundles and boards ---------------------------------------------------------------------------


def bundle() -> Seeds:
    """A bundle for another board than this machine, without real wheels."""
    write_models()
    platform = {"name": "aarch64", "machines": ["aarch64"], "bits": 64}
    files = bundle_files("m.tflite") | {
        "bundle.json": json.dumps(description("m.tflite") | {"platform": platform}).encode(),
        "model.tflite": TINY.read_bytes(),
        "wheels/pip-1-py3-none-any.whl": b"wheel",
    }
    del files["SHA256SUMS"]
    release = {"id": RELEASE, "installed": "2026-01-01T00:00:00Z", "model": "m.tflite"}
    facts = {
        **BARE_BOARD,
        "incoming": {"edge-se-0123456789ab.tar.gz": {"bytes": 10, "sha256": "0" * 64}},
        "current": RELEASE,
        "releases": [{**release, "edge_se": "0.1.0", "rtf": 0.1, "damage": None}],
        "history": [RELEASE],
    }
    FACTS.write_text(json.dumps(facts, indent=2))
    BUNDLE.write_bytes(pack_bundle(files))
    return {"bundle.tar.gz": BUNDLE.read_bytes()}


def answers() -> Seeds:
    """What a board's installer answers: facts, releases and history."""
    bundle()
    return {"facts.json": FACTS.read_bytes()}


def reports() -> Seeds:
    """The report of a release, as it lies on a board."""
    return {"report.json": (add_release(FIXTURES / "board", 2) / "report.json").read_bytes()}
