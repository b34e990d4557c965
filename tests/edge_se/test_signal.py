"""Any signal's transform gives samples back, and its level is that of its loudness."""

import ctypes
import json
from dataclasses import replace

import numpy as np
import pytest
import soxr

from calib_data import clips_folder
from edge_se.core import LEVEL_PARAMETERS, Level, reset_level
from edge_se.core.build import FOLDER, BuildError, compile_library, find_compiler
from edge_se.errors import UserError
from edge_se.level import DB_PER_OCTAVE, ONE, LevelNormalizer, hop_energy
from edge_se.manifest import Manifest
from edge_se.signal import Signal
from edge_se.stft import Stft
from tests.helpers.clips import samples_of
from tests.helpers.signals import SIGNALS, name, noise
from tests.helpers.tiny_model import tiny_flatbuffer


@pytest.fixture(params=SIGNALS, ids=name)
def signal(request) -> Signal:
    return request.param


def test_synthesis_gives_the_analysed_samples_back_later(signal):
    stft, samples = Stft(signal), noise(20 * signal.hop)
    output = np.empty_like(samples)

    for given, out in zip(*(x.reshape(20, signal.hop) for x in (samples, output)), strict=True):
        stft.synthesise(stft.analyse(given), out)

    late = signal.window - signal.hop
    np.testing.assert_allclose(output[late:], samples[:-late], atol=2e-6)
    np.testing.assert_allclose(output[:late], 0, atol=2e-6)


def test_overlapping_windows_of_analysis_and_synthesis_add_up_to_one(signal):
    product = signal.analysis_window() * signal.synthesis_window()
    total = np.zeros(signal.window + 9 * signal.hop)
    for start in range(0, 10 * signal.hop, signal.hop):
        total[start : start + signal.window] += product

    late = signal.window - signal.hop
    np.testing.assert_allclose(total[late:-late], 1, atol=1e-12)


# In a manifest ----------------------------------------------------------------------------------


def content(**changes) -> str:
    manifest = json.loads(tiny_flatbuffer("float32")[1].to_json())
    manifest["signal"] |= changes
    bins = (manifest["signal"].get("n_fft") or manifest["signal"]["window"]) // 2 + 1
    for tensor, rows in (("features", 3), ("mask", 2)):
        manifest["tensors"][tensor]["shape"] = [rows, bins]
    return json.dumps(manifest)


def test_a_manifest_may_have_any_signal(signal):
    fields = ("window", "hop", "window_function", "n_fft")
    read = Manifest.from_json(content(**{name: getattr(signal, name) for name in fields}), "m")

    assert read.signal == signal
    assert ("n_fft" in json.loads(read.to_json())["signal"]) == (signal.n_fft is not None)
    assert Manifest.from_json(read.to_json(), "m") == read
    assert read.latency_samples == signal.window - signal.hop


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hop": 512}, "its hop of 512 samples is not between 1 and 511"),
        ({"hop": 600}, "its hop of 600 samples is not between 1 and 511"),
        ({"hop": 0}, "its hop of 0 samples is not between 1 and 511"),
        ({"hop": -256}, "its hop of -256 samples is not between 1 and 511"),
        ({"window": 511}, "its window of 511 samples is not an even number up to 65536"),
        ({"window": 0}, "its window of 0 samples is not an even number up to 65536"),
        ({"n_fft": 510}, "its n_fft of 510 is not an even number from 512 to 65536"),
        ({"n_fft": 513}, "its n_fft of 513 is not an even number from 512 to 65536"),
        ({"n_fft": 2**17}, "its n_fft of 131072 is not an even number from 512 to 65536"),
        ({"n_fft": 512.0}, "its n_fft is 512.0, not a whole number"),
        (
            {"window_function": "kaiser"},
            "its window_function is 'kaiser', and this edge-se knows only 'square_root_hann' or "
            "'hann' or 'hamming'",
        ),
        ({"sample_rate": -16000}, "its sample rate is -16000"),
        (
            {"features": "odd"},
            "its features is 'odd', and this edge-se knows only 'magnitude_real_imaginary' or "
            "'log_magnitude' or 'stereo_magnitude'",
        ),
        (
            {"features": "stereo_magnitude"},
            "its features are 'stereo_magnitude' and its mask 'complex', but its chunk is None",
        ),
    ],
)
def test_a_bad_signal_is_one_sentence(changes, complaint):
    with pytest.raises(UserError) as error:
        Manifest.from_json(content(**changes), "model.tflite")

    assert str(error.value) == (
        f"the manifest in model.tflite is wrong: {complaint}; make the model again"
    )


# Its level --------------------------------------------------------------------------------------

LEVELLED = [
    Signal(rate, window, hop, level_dbfs=-25.0)
    for rate, window, hop in (
        *((16000, 512, 256), (48000, 960, 480), (16000, 400, 160), (48000, 1536, 768)),
        *((8000, 256, 128), (16000, 512, 128)),
    )
]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Half a minute of three voices at -6 dBFS and 16 kHz."""
    voices = [
        samples_of(clips_folder() / "clean" / f"{name}.flac")
        for name in ("de_01", "fr_01", "ja_01")
    ]
    samples = np.concatenate(voices * 3)
    return (samples * 10 ** (-6 / 20) / np.sqrt(np.mean(samples**2))).astype(np.float32)


def hops(samples: np.ndarray, signal: Signal) -> np.ndarray:
    """Whole hops of 16 kHz speech at the signal's rate."""
    resampled = soxr.resample(samples, 16000, signal.sample_rate)
    return resampled[: len(resampled) // signal.hop * signal.hop].reshape(-1, signal.hop)


def settled(speech: np.ndarray, signal: Signal) -> tuple[float, int]:
    """Mean estimate in dB above the target after a while, and the exponent in the end."""
    normalizer = LevelNormalizer(signal)
    estimates = []
    for hop in hops(speech, signal):
        exponent = normalizer(hop_energy(hop))
        estimates.append(normalizer._estimate - normalizer.target)
    mean = np.mean(estimates[len(estimates) // 3 :])
    return float(mean) / ONE * DB_PER_OCTAVE, exponent


@pytest.mark.parametrize("signal", LEVELLED, ids=name)
def test_speech_of_one_loudness_has_one_level_at_any_hop(speech, signal):
    expected, exponent = settled(speech, LEVELLED[0])

    found = settled(speech, signal)

    # -6 dBFS is 19 dB above the target.
    assert expected == pytest.approx(19, abs=2.5) and exponent == -2
    assert found == (pytest.approx(expected, abs=0.15), exponent)


LOOP = """
#include <stdint.h>
#include "level.h"
int step(struct level *level, const int16_t *samples, int count)
{
    uint64_t energy = 0, largest = 0;
    for (int n = 0; n < count; n++) {
        const uint32_t square = (uint32_t)((int32_t)samples[n] * samples[n]);
        energy += square;
        largest = square > largest ? square : largest;
    }
    return level_take(level, energy, largest * (uint64_t)count);
}
"""


@pytest.fixture(scope="module")
def compiled_level(tmp_path_factory):
    """The core's `level_take`, for hops of any size."""
    folder = tmp_path_factory.mktemp("level")
    (folder / "loop.c").write_text(LOOP)
    try:
        compiler = [*find_compiler(), f"-I{FOLDER}"]
    except BuildError as error:
        pytest.skip(str(error))
    compile_library(folder / "level.so", [folder / "loop.c"], compiler)
    return ctypes.CDLL(str(folder / "level.so")).step


@pytest.mark.parametrize("signal", LEVELLED, ids=name)
def test_numpy_and_c_have_the_same_level_at_any_hop(speech, signal, compiled_level):
    normalizer = LevelNormalizer(replace(signal, level_dbfs=-50.0))
    level = Level(**{name: getattr(normalizer, name) for name in LEVEL_PARAMETERS})
    reset_level(level)
    swelling = np.concatenate([speech[:80000], 0.001 * speech[:80000], speech[80000:120000]])
    swelling[120000:120016] = 1
    exponents = set()
    for hop in hops(swelling, signal):
        samples = np.clip(np.rint(hop * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
        squares = np.square(samples.astype(np.int64))
        expected = normalizer(int(squares.sum()), int(squares.max()) * len(hop))

        found = compiled_level(
            ctypes.byref(level), samples.ctypes.data_as(ctypes.c_void_p), len(hop)
        )

        assert (found, level.estimate) == (expected, normalizer._estimate)
        assert level.event == normalizer.event
        exponents.add(found)
    assert exponents >= {0, -1, -2, -3, -4}
