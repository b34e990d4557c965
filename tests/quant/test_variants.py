"""GTCRNs of other rates and widths, from the checkpoint to enhanced files, as a user types it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors.torch import save_file

import edge_se.cli
from edge_se import Enhancer
from edge_se.engines import choice
from edge_se.model_file import read_manifest
from edge_se.resampling import resample
from quant.evaluation.metrics import snr
from quant.networks.gtcrn.model import GTCRN
from tests.helpers.running import randomize

# Options, all of which the weights tell, and the checkpoint's name.
VARIANTS = {
    "48 kHz": (
        {"sample_rate": 48000, "window": 960, "low_bands": 97, "high_bands": 96},
        "trained_at_48k.tar",
    ),
    "24 channels": ({"channels": 24}, "wide.safetensors"),
}
PRECISIONS = ("float", "int8")


@dataclass(frozen=True)
class Variant:
    """A network with random weights, its checkpoint, and the model files made of it."""

    network: GTCRN
    checkpoint: Path
    clips: Path
    noisy: np.ndarray

    @property
    def rate(self) -> int:
        return self.network.signal.sample_rate

    def model(self, precision: str) -> Path:
        return self.checkpoint.with_name(f"{precision}.tflite")


def type_in(*arguments) -> int:
    return edge_se.cli.main([str(argument) for argument in arguments])


def at_rate(samples: np.ndarray, rate: int) -> np.ndarray:
    """A mixture at 16 kHz at another rate, with some noise where it has nothing."""
    hiss = 0.002 * np.random.default_rng(0).standard_normal(len(samples) * rate // 16000)
    return (soxr.resample(samples, 16000, rate) + hiss).astype(np.float32)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, noisy, tmp_path_factory) -> Variant:
    options, name = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp("variant")
    network = randomize(GTCRN(**options), seed=1)
    if name.endswith(".tar"):
        torch.save({"epoch": 3, "optimizer": {}, "model": network.state_dict()}, folder / name)
    else:
        save_file(network.state_dict(), folder / name)
    rate = network.signal.sample_rate
    (folder / "clips").mkdir()
    for index, samples in enumerate(noisy[:4]):
        soundfile.write(folder / "clips" / f"{index}.wav", at_rate(samples, rate)[:rate], rate)
    for precision in PRECISIONS:
        quantize = ("quantize", folder / name, "--calibration-clips", folder / "clips")
        out = folder / f"{precision}.tflite"
        assert type_in(*quantize, "--precision", precision, "--recover", 0, "--out", out) == 0
    return Variant(network, folder / name, folder / "clips", at_rate(noisy[4], rate))


@torch.no_grad()
def offline(network: GTCRN, samples: np.ndarray) -> np.ndarray:
    """What the torch network makes of a whole signal, by upstream's forward; aligned."""
    window, hop = network.signal.window, network.signal.hop
    shape = np.sin(np.pi * np.arange(window) / window)
    hops = -(-len(samples) // hop) + 1
    padded = np.concatenate([np.zeros(hop), samples, np.zeros(hops * hop - len(samples))])
    spectra = np.fft.rfft([padded[hop * t : hop * t + window] * shape for t in range(hops)]).T
    given = np.stack([spectra.real, spectra.imag], axis=-1).astype(np.float32)
    enhanced = network(torch.from_numpy(given)[None])[0].double().numpy()
    segments = np.fft.irfft((enhanced[..., 0] + 1j * enhanced[..., 1]).T) * shape
    output = np.zeros_like(padded)
    for t, segment in enumerate(segments):
        output[hop * t : hop * t + window] += segment
    return output[hop : hop + len(samples)]


def in_numpy(monkeypatch: pytest.MonkeyPatch, path: Path, stft: str | None = None) -> Enhancer:
    """The model with its signal path in NumPy."""
    monkeypatch.setattr(choice, "load_core", lambda: None)
    return Enhancer(path, stft=stft)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_manifest_has_the_network_s_signal(variant, precision):
    manifest, signal = read_manifest(variant.model(precision)), variant.network.signal

    expected = (signal.sample_rate, signal.window, signal.hop, signal.window_function)
    found = manifest.signal
    assert (found.sample_rate, found.window, found.hop, found.window_function) == expected
    assert found.level_dbfs == -25.0
    assert manifest.tensors.mask.shape == (2, signal.bins)
    assert manifest.latency_samples == signal.window - signal.hop


def test_float_enhances_a_file_as_the_torch_network_does_offline(variant, main, tmp_path):
    soundfile.write(tmp_path / "noisy.wav", variant.noisy, variant.rate, "FLOAT")

    code, _, errors = main("enhance", "noisy.wav", "out.wav", "--model", variant.model("float"))

    assert code == 0, errors
    enhanced, rate = soundfile.read(tmp_path / "out.wav")
    expected = offline(variant.network, variant.noisy)
    assert rate == variant.rate and 0.01 < np.abs(expected).max() < 2
    np.testing.assert_allclose(enhanced, expected, atol=2e-5)


def test_int8_stays_near_float(variant):
    enhanced = [Enhancer(variant.model(p), stft="float").enhance(variant.noisy) for p in PRECISIONS]

    # The networks are random: trained ones lose less.
    assert 12 < snr(enhanced[1], enhanced[0]) < 60


@pytest.mark.parametrize("precision", PRECISIONS)
def test_numpy_and_the_core_agree(variant, precision, monkeypatch):
    samples = variant.noisy[: variant.rate // 2]
    usual = Enhancer(variant.model(precision))
    enhanced = usual.enhance(samples)

    plain = in_numpy(monkeypatch, variant.model(precision), "float")

    # The core has one transform; all others are NumPy's.
    has_core = variant.network.signal.window == 512
    assert usual.engine.describe()["stft"].endswith("(compiled)" if has_core else "(numpy)")
    assert plain.engine.describe()["stft"] == "float (numpy)"
    if precision == "float":
        np.testing.assert_allclose(enhanced, plain.enhance(samples), atol=2e-5)
    else:  # the STFTs round features apart by a step now and then
        assert snr(enhanced, plain.enhance(samples)) > 20


@pytest.mark.parametrize("variant", ["24 channels"], indirect=True)
def test_the_fixed_stft_is_the_same_in_numpy_and_the_core(variant, monkeypatch):
    samples = variant.noisy[:4096]
    compiled = Enhancer(variant.model("int8")).enhance(samples)

    with pytest.warns(RuntimeWarning, match="fixed-point STFT runs in NumPy"):
        plain = in_numpy(monkeypatch, variant.model("int8")).enhance(samples)

    assert read_manifest(variant.model("int8")).stft == "fixed"
    np.testing.assert_array_equal(compiled, plain)


@pytest.mark.parametrize("variant", ["48 kHz"], indirect=True)
def test_the_fixed_stft_of_another_window_is_refused_in_one_sentence(variant, main, tmp_path):
    assert read_manifest(variant.model("int8")).stft == "float"
    soundfile.write(tmp_path / "noisy.wav", variant.noisy, variant.rate)

    code, _, errors = main(
        *("enhance", "noisy.wav", "out.wav", "--model", variant.model("int8"), "--stft", "fixed")
    )

    assert code == 2
    assert errors.splitlines()[-1] == (
        "edge-se: error: the fixed-point STFT has a window of 512 samples in as many points and "
        "hops of 256, the model a window of 960 in 960 and hops of 480; take the float STFT"
    )
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_files_of_any_rate_keep_it(variant, main, tmp_path, rate):
    samples = soxr.resample(variant.noisy, variant.rate, rate)[: rate + 17]
    soundfile.write(tmp_path / "noisy.wav", samples, rate, "FLOAT")

    model = ("--model", variant.model("float"), "--no-full-band")
    code, _, errors = main("enhance", "noisy.wav", "out.wav", *model)

    assert code == 0, errors
    enhanced, written = soundfile.read(tmp_path / "out.wav")
    heard = resample(samples.astype(np.float32), rate, variant.rate)
    expected = resample(offline(variant.network, heard), variant.rate, rate)
    assert (written, len(enhanced)) == (rate, rate + 17)
    middle = slice(rate // 10, -rate // 10)
    assert snr(enhanced[middle], expected[: rate + 17][middle]) > 60


@pytest.mark.parametrize("precision", PRECISIONS)
def test_benchmark_counts_the_network_s_frames(variant, main, tmp_path, precision):
    code, output, _ = main(
        *("benchmark", "--model", variant.model(precision), "--seconds", 0.5),
        *("--json", "times.json"),
    )

    signal = variant.network.signal
    report = json.loads((tmp_path / "times.json").read_text())
    assert code == 0 and f"frames of {1000 * signal.hop_seconds:g} ms" in output
    assert report["latency_ms"] == 2000 * signal.hop / signal.sample_rate
    assert report["frames"] == round(0.5 / signal.hop_seconds)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inspect_shows_signal_and_options(variant, main, precision):
    code, output, _ = main("inspect", variant.model(precision), "--json", "-")

    shown, signal = json.loads(output), variant.network.signal
    assert code == 0
    assert shown["manifest"]["checkpoint"]["name"] == variant.checkpoint.name
    assert shown["manifest"]["signal"]["sample_rate"] == signal.sample_rate
    options = next(o for o, name in VARIANTS.values() if name == variant.checkpoint.name)
    assert shown["manifest"]["checkpoint"]["options"] == options
    assert shown["stft_core"] == ("compiled" if signal.window == 512 else "numpy")


def test_evaluate_compares_at_the_network_s_rate(variant, main, tmp_path):
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    clean.mkdir(), noisy.mkdir()
    speech = soxr.resample(variant.noisy, variant.rate, 16000)
    soundfile.write(clean / "a.wav", at_rate(speech, variant.rate), variant.rate, "FLOAT")
    soundfile.write(noisy / "a.wav", variant.noisy, variant.rate, "FLOAT")

    code, _, errors = main(
        *("evaluate", "--model", variant.model("int8"), "--reference", variant.model("float")),
        *("--noisy", "noisy", "--clean", "clean", "--json", "scores.json"),
    )

    assert code == 0, errors
    scores = json.loads((tmp_path / "scores.json").read_text())
    enhanced = [Enhancer(variant.model(p)).enhance(variant.noisy) for p in PRECISIONS]
    assert scores["overall"]["snr_to_reference_db"] == pytest.approx(
        snr(enhanced[1], enhanced[0]), abs=0.01
    )
    assert scores["overall"]["counts"]["si_snr_db"] == scores["overall"]["counts"]["stoi"] == 1


@pytest.mark.parametrize(("arithmetic", "out"), [("float", "engine.so"), ("fixed", "engine/")])
def test_compile_says_at_once_what_it_takes(variant, main, tmp_path, arithmetic, out):
    code, output, errors = main(
        "compile", variant.checkpoint, "--arithmetic", arithmetic, "--out", out
    )

    # One line: nothing was calibrated, which would take minutes.
    (message,) = errors.splitlines()
    assert code == 2 and not output
    assert message.startswith(f"edge-se: error: no {arithmetic} C engine can be generated")
    assert message.endswith(
        "there are engines for a GTCRN with windows of 512 samples and 16 channels, as upstream "
        "trains it, and for UL-UNAS"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["48 kHz"], indirect=True)
def test_auto_chooses_a_recipe(variant, main, tmp_path):
    code, output, errors = main(
        *("quantize", variant.checkpoint, "--calibration-clips", variant.clips),
        *("--precision", "auto", "--recover", 0, "--out", "auto.tflite"),
    )

    assert code == 0, errors
    manifest = read_manifest(tmp_path / "auto.tflite")
    decision = manifest.calibration["decision"]
    assert decision["chosen"] == manifest.precision and "chosen: " in output
    float_enhanced, enhanced = (
        Enhancer(path, stft="float").enhance(variant.noisy)
        for path in (variant.model("float"), tmp_path / "auto.tflite")
    )
    assert manifest.signal.sample_rate == variant.rate
    assert snr(enhanced, float_enhanced) > 12


def test_training_takes_the_network_s_options(main, tmp_path):
    random = np.random.default_rng(0)
    for kind, count, size in (("clean", 3, 0.1), ("noise", 3, 0.03)):
        (tmp_path / kind).mkdir()
        for number in range(count):
            swell = np.sin(2 * np.pi * 3 * np.arange(48000) / 48000)
            samples = size * random.standard_normal(48000) * np.clip(swell, 0, 1)
            soundfile.write(tmp_path / kind / f"{number}.wav", samples, 48000)

    trained = main(
        *("train", "--clean", "clean", "--noise", "noise", "--out", "run", "--steps", 1),
        *("--batch-size", 2, "--seconds", 0.2, "--validation-mixtures", 2, "--threads", 1),
        *("--network-option", "sample_rate=48000", "--network-option", "window=960"),
    )
    made = main("quantize", "run/best.safetensors", "--precision", "float", "--out", "m.tflite")

    assert (trained[0], made[0]) == (0, 0), trained[2] + made[2]
    signal = read_manifest(tmp_path / "m.tflite").signal
    assert (signal.sample_rate, signal.window, signal.hop) == (48000, 960, 480)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("colour=blue", "gtcrn has no option 'colour'; its options are sample_rate, window, "),
        ("sample_rate=fast", "sample_rate is 'fast', but has to be a positive whole number"),
        ("window=962", "a window of 962 and 16 channels don't fit"),
        ("high_bands=66", "65 and 66 bands are 131, but have to be one more than a multiple of 4"),
        ("high_bands=400", "65 low and 400 high bands don't fit 257 bins at 16000 Hz"),
    ],
)
def test_an_option_that_does_not_fit_is_one_sentence(main, tmp_path, option, complaint):
    (tmp_path / "clips").mkdir()

    code, output, errors = main(
        *("train", "--clean", "clips", "--noise", "clips", "--out", "run"),
        *("--network-option", option),
    )

    (message,) = errors.splitlines()
    assert code == 2 and not output
    assert message.startswith(f"edge-se: error: {complaint}")
    assert not (tmp_path / "run").exists()
