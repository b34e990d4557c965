import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import edge_se.peers
from edge_se import Enhancer
from edge_se.comparison import compare, format_comparison, take_turns
from edge_se.errors import UserError
from edge_se.peers import Ours, Peer, load_peer
from tests.helpers.tiny_onnx import write_tiny_onnx


class Recorder:
    """A peer that notes the first sample of each frame it is given."""

    size_kb = 0.0
    sample_dtype = np.dtype(np.float32)

    def __init__(self, name: str, hop: int, rate: int = 16000, log: list | None = None) -> None:
        self.name, self.hop_size, self.sample_rate = name, hop, rate
        self.frames: list[float] = []
        self.log = [] if log is None else log

    def process(self, frame: np.ndarray, out: np.ndarray) -> None:
        self.frames.append(frame[0])
        self.log.append(self.name)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def stream(peer, samples: np.ndarray) -> np.ndarray:
    """A whole signal through a peer, hop by hop; its latency is left in."""
    frames = samples[: len(samples) // peer.hop_size * peer.hop_size].reshape(-1, peer.hop_size)
    output = np.empty_like(frames)
    for frame, out in zip(frames, output, strict=True):
        peer.process(frame, out)
    return output.ravel()


def test_peers_get_the_same_audio_whatever_their_hop():
    peers = [Recorder("long", 256), Recorder("short", 128)]

    times = take_turns(peers, np.arange(15872, dtype=np.float32), seconds=2)

    long, short = (peer.frames[200:] for peer in peers)
    assert [len(t) for t in times] == [len(long), len(short)] == [125, 250]
    assert short[::2] == long


def test_peers_take_turns():
    log: list[str] = []
    peers = [Recorder("a", 256, log=log), Recorder("b", 256, log=log)]

    take_turns(peers, np.zeros(16000, np.float32), seconds=0.8)

    assert log[400:] == (["a"] * 25 + ["b"] * 25) * 2


def test_a_peer_at_another_rate_gets_the_same_seconds_resampled():
    peers = [Recorder("a", 256), Recorder("b", 480, 48000)]

    times = take_turns(peers, np.full(16000, 0.5, np.float32), 0.8)

    assert [len(t) for t in times] == [50, 80]
    assert peers[1].frames[-1] == pytest.approx(0.5, abs=1e-3)


def test_ratios_are_per_second_of_audio_and_to_the_first(tiny_float, noise):
    peers: list[Peer] = [Ours(Enhancer(tiny_float)), Recorder("short", 128)]

    first, second = compare(peers, noise, seconds=0.5)

    assert first["ratio"] == {"p5": 1, "p50": 1}
    assert first["rtf"]["p5"] == pytest.approx(first["frame_us"]["p5"] / 16000, rel=0.02)
    expected = second["rtf"]["p50"] / first["rtf"]["p50"]
    assert second["ratio"]["p50"] == pytest.approx(expected, rel=0.2)


def test_the_table_has_a_row_for_each(tiny_float, noise):
    report = compare([Ours(Enhancer(tiny_float)), Recorder("short", 128)], noise, seconds=0.4)

    rows = format_comparison(report).splitlines()

    assert [row.split()[0] for row in rows[1:]] == ["tiny_float.tflite", "short"]


def test_benchmark_compares_models_of_our_own(edge_se, tiny_float, tiny_int8, tmp_path):
    write_tiny_onnx(tmp_path / "tiny.onnx")

    result = edge_se(
        *("benchmark", "--model", tiny_int8, "--seconds", 0.5, "--json", "report.json"),
        *("--compare", tiny_float, "tiny.onnx"),
    )

    assert result.returncode == 0, result.stderr
    names = [e["name"] for e in json.loads((tmp_path / "report.json").read_text())["comparison"]]
    assert [name.split()[0] for name in names] == ["tiny_int8.tflite", tiny_float.name, "tiny.onnx"]


def test_an_unknown_onnx_model_is_refused(tmp_path):
    path = write_tiny_onnx(tmp_path / "plain.onnx", with_manifest=False)

    with pytest.raises(UserError, match="no way to run it"):
        load_peer(path)


def test_a_folder_without_dtln_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model_quant_1\.tflite; DTLN is a folder with"):
        load_peer(tmp_path)


def test_a_model_that_is_no_stage_of_dtln_is_refused(tmp_path, tiny_float):
    for number in (1, 2):
        (tmp_path / f"model_quant_{number}.tflite").write_bytes(tiny_float.read_bytes())

    with pytest.raises(UserError, match="no stage of DTLN"):
        load_peer(tmp_path)


def test_the_authors_onnx_enhances_as_the_authors_did(assets):
    samples, _ = soundfile.read(assets / "gtcrn" / "mix.wav", dtype="float32")
    expected, _ = soundfile.read(assets / "gtcrn" / "enh.wav", dtype="float32")

    output = stream(load_peer(assets / "gtcrn" / "gtcrn_simple.onnx"), samples)[256:]

    assert correlation(output, expected[: len(output)]) > 0.99


def test_the_authors_onnx_of_ul_unas_gives_their_output(assets):
    reference = np.load(assets / "reference" / "ul_unas_reference.npz")
    peer = load_peer(assets / "ul_unas" / "ulunas_stream_simple.onnx")

    output = stream(peer, reference["wav"])[256:]

    # Theirs begins with a frame of reflected samples, which the states remember for a while.
    assert correlation(output, reference["enhanced"][: len(output)]) > 0.999


def test_rnnoise_takes_noise_away():
    pytest.importorskip("pyrnnoise", reason="pyrnnoise is not installed")
    noise = (0.05 * np.random.default_rng(0).standard_normal(96000)).astype(np.float32)

    output = stream(load_peer(Path("rnnoise")), noise)

    assert np.std(output[48000:]) < 0.3 * np.std(noise)


def test_rnnoise_that_is_not_there_is_told_apart(monkeypatch):
    monkeypatch.setattr(edge_se.peers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(edge_se.peers, "find_library", lambda name: None)

    with pytest.raises(UserError, match="pip install pyrnnoise"):
        load_peer(Path("rnnoise"))


def test_a_library_that_is_not_rnnoise_is_refused(tmp_path):
    (tmp_path / "librnnoise.so").write_bytes(b"none")

    with pytest.raises(UserError, match="no RNNoise library"):
        load_peer(tmp_path / "librnnoise.so")


def test_webrtc_takes_noise_away():
    pytest.importorskip("webrtc_noise_gain", reason="webrtc-noise-gain is not installed")
    noise = (1600 * np.random.default_rng(0).standard_normal(32000)).astype(np.int16)

    output = stream(load_peer(Path("webrtc")), noise)

    assert np.std(output[16000:]) < 0.3 * np.std(noise)


def test_webrtc_that_is_not_there_is_told_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "webrtc_noise_gain", None)

    with pytest.raises(UserError, match="pip install webrtc-noise-gain"):
        load_peer(Path("webrtc"))


def test_dtln_enhances(assets, audio):
    name = sorted((audio / "eval_public" / "noisy").iterdir())[0].name
    noisy, clean = (
        soundfile.read(audio / "eval_public" / kind / name, dtype="float32")[0]
        for kind in ("noisy", "clean")
    )

    output = stream(load_peer(assets / "dtln"), noisy)[384:]

    before, after = (correlation(x[: len(output)], clean[: len(output)]) for x in (noisy, output))
    assert after > before
