import gc
import tracemalloc
import warnings

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.errors import UserError
from tests.helpers.tiny_model import BINS, RESET_VALUE, expected_output, write_tiny

# Signal to noise of the tiny INT8 model's output: its features have 8 bits.
INT8_SNR_DB = 40


def stream(enhancer: Enhancer, samples: np.ndarray) -> np.ndarray:
    """Frame by frame, as long as the whole frames in `samples`; lags by `latency_samples`."""
    hop = enhancer.hop_size
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    return np.concatenate([enhancer.process(frame) for frame in frames])


def snr(reference: np.ndarray, output: np.ndarray) -> float:
    return 10 * np.log10(np.sum(reference**2) / np.sum((output - reference) ** 2))


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 512, 5000])
def test_a_float_model_gives_the_offline_answer_at_any_length(tiny_float, noise, length):
    output = Enhancer(tiny_float).enhance(noise[:length])

    assert output.shape == (length,)
    np.testing.assert_allclose(output, expected_output(noise[:length]), atol=1e-6)


def test_an_int8_model_gives_the_offline_answer_up_to_its_resolution(tiny_int8, noise):
    output = Enhancer(tiny_int8).enhance(noise)

    assert snr(expected_output(noise), output) > INT8_SNR_DB


def test_streaming_equals_offline(tiny, noise):
    enhancer = Enhancer(tiny)

    streamed = stream(enhancer, noise)

    latency = enhancer.latency_samples
    offline = enhancer.enhance(noise)
    np.testing.assert_array_equal(streamed[latency:], offline[: len(streamed) - latency])


def test_reset_gives_the_same_bits_again(tiny, noise):
    enhancer = Enhancer(tiny)
    first = stream(enhancer, noise)

    enhancer.reset()

    np.testing.assert_array_equal(stream(enhancer, noise), first)


def test_a_new_enhancer_is_as_one_after_reset(tiny, noise):
    used = Enhancer(tiny)
    stream(used, noise)
    used.reset()

    np.testing.assert_array_equal(stream(used, noise), stream(Enhancer(tiny), noise))


def test_output_lags_input_by_the_latency(tiny, noise):
    enhancer = Enhancer(tiny)

    output = stream(enhancer, noise)

    correlation = np.correlate(output, noise[: len(output)], "full")
    assert np.argmax(correlation) - (len(output) - 1) == enhancer.latency_samples == 256


@pytest.mark.parametrize("changed", [255, 256, 257, 4000, 4095, 4096])
def test_a_sample_changes_no_output_before_its_own_frame(tiny, noise, changed):
    other = noise.copy()
    other[changed] += 0.5
    enhancer = Enhancer(tiny)
    first = stream(enhancer, noise)
    enhancer.reset()

    second = stream(enhancer, other)

    frame_start = changed // 256 * 256
    np.testing.assert_array_equal(first[:frame_start], second[:frame_start])
    assert not np.array_equal(first[frame_start:], second[frame_start:])


def test_a_lookahead_delays_the_spectrum_with_the_mask(tmp_path, noise):
    model = write_tiny(tmp_path / "ahead.tflite", lookahead_frames=2)

    enhancer = Enhancer(model)

    assert enhancer.latency_samples == 256 + 2 * 256
    np.testing.assert_allclose(
        enhancer.enhance(noise), expected_output(noise, lookahead=2), atol=1e-6
    )


def test_a_lookahead_is_forgotten_by_reset(tmp_path, noise):
    enhancer = Enhancer(write_tiny(tmp_path / "ahead.tflite", lookahead_frames=2))
    first = stream(enhancer, noise)

    enhancer.reset()

    np.testing.assert_array_equal(stream(enhancer, noise), first)


def test_states_can_be_inspected_by_name(tiny, noise):
    enhancer = Enhancer(tiny)
    np.testing.assert_array_equal(enhancer.states["smoother.cache"], np.full((1, BINS), 0.25))

    enhancer.process(np.zeros(256, np.float32))

    np.testing.assert_array_equal(
        enhancer.states["smoother.cache"], np.full((1, BINS), RESET_VALUE / 2)
    )


def test_a_frame_may_be_enhanced_in_place(tiny, noise):
    expected = Enhancer(tiny).process(noise[:256])
    frame = noise[:256].copy()

    Enhancer(tiny).process(frame, out=frame)

    np.testing.assert_array_equal(frame, expected)


def test_frames_are_not_changed(tiny, noise):
    frame = noise[:256].copy()

    Enhancer(tiny).process(frame)

    np.testing.assert_array_equal(frame, noise[:256])


def test_digital_silence_stays_silent(tiny):
    assert not Enhancer(tiny).enhance(np.zeros(5000, np.float32)).any()


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros(255, np.float32),
        np.zeros((1, 256), np.float32),
        np.zeros(256, np.float64),
        np.zeros(256, np.int16),
        [0.0] * 256,
    ],
)
def test_a_wrong_frame_is_refused(tiny_float, frame):
    with pytest.raises(ValueError, match=r"a frame is float32 of shape \(256,\), got"):
        Enhancer(tiny_float).process(frame)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_frame_that_would_poison_the_states_is_refused(tiny_float, noise, value):
    enhancer = Enhancer(tiny_float)
    frame = noise[:256].copy()
    frame[17] = value

    with pytest.raises(ValueError, match="NaN or infinite"):
        enhancer.process(frame)

    np.testing.assert_array_equal(
        enhancer.process(noise[:256]), Enhancer(tiny_float).process(noise[:256])
    )


@pytest.mark.parametrize("core", ["compiled", "numpy"])
@pytest.mark.parametrize("stft", [None, "fixed"])
@pytest.mark.parametrize("value", [3e38, -3e38, 1e15, 32768, 1e-40])
def test_finite_frames_give_finite_frames_again(
    tiny_float, tiny_int8, noise, monkeypatch, core, stft, value
):
    if core == "numpy":
        monkeypatch.setattr("edge_se.engines.choice.load_core", lambda: None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the fixed-point STFT runs in NumPy")
        enhancer = Enhancer(tiny_int8 if stft else tiny_float, stft=stft)
        undisturbed = Enhancer(tiny_int8 if stft else tiny_float, stft=stft)
    frames = noise[: 100 * 256].reshape(100, 256)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "samples of a frame exceed 16")
        for sign in (1, -1, 1):
            assert np.isfinite(enhancer.process(np.full(256, sign * value, np.float32))).all()
    found = [enhancer.process(frame) for frame in frames]

    assert np.isfinite(found).all()
    expected = [undisturbed.process(frame) for frame in frames]
    np.testing.assert_allclose(found[50:], expected[50:], atol=1e-3)


def test_frames_in_another_unit_are_told_once(tiny_float, noise):
    enhancer = Enhancer(tiny_float)
    frame = 32768 * noise[:256]

    with pytest.warns(RuntimeWarning, match="16-bit units; divide by 32768"):
        enhancer.process(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enhancer.process(frame)


def test_a_signal_in_another_unit_is_refused(tiny_float, noise):
    with pytest.raises(ValueError, match="16-bit units; divide by 32768"):
        Enhancer(tiny_float).enhance(-32768 * noise)


@pytest.mark.parametrize("peak", [1, 4, 31.9])
def test_loud_frames_are_not_cut_off(tiny_float, noise, peak):
    signal = noise * np.float32(peak / np.abs(noise).max())

    output = Enhancer(tiny_float).enhance(signal)

    np.testing.assert_allclose(output, expected_output(signal), atol=1e-5 * peak)


@pytest.mark.parametrize(
    ("signal", "complaint"),
    [
        (np.zeros((2, 100), np.float32), "one-dimensional"),
        (np.zeros(100, np.int16), "floating point"),
        (np.array([0.0, np.nan]), "NaN"),
    ],
)
def test_a_wrong_signal_is_refused(tiny_float, signal, complaint):
    with pytest.raises(ValueError, match=complaint):
        Enhancer(tiny_float).enhance(signal)


def test_the_frame_loop_leaves_nothing_behind(tiny, noise):
    enhancer, out = Enhancer(tiny), np.empty(256, np.float32)
    frames = noise[: 100 * 256].reshape(100, 256)
    gc.collect()
    gc.disable()
    try:
        objects = len(gc.get_objects())
        for frame in frames:
            enhancer.process(frame, out)
        left = len(gc.get_objects()) - objects
    finally:
        gc.enable()

    assert left <= 1  # the loop variable's holder


def test_memory_stays_flat(tiny, noise):
    enhancer, out = Enhancer(tiny), np.empty(256, np.float32)
    frames = list(noise[: 100 * 256].reshape(100, 256))
    tracemalloc.start()
    try:
        for frame in frames:
            enhancer.process(frame, out)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            for frame in frames:
                enhancer.process(frame, out)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert grown < 1000


def test_a_missing_default_model_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr("edge_se.model_file.__file__", str(tmp_path / "model_file.py"))

    with pytest.raises(UserError, match="no default model built in; name one"):
        Enhancer()


@pytest.mark.parametrize("faint", [2.0**-31, 1e-20, 1e-40])
def test_hops_too_faint_to_be_heard_reach_no_engine(tiny_float, noise, faint):
    """Their squares would be denormal numbers, which take processors many times as long."""
    enhancer, silent = Enhancer(tiny_float), Enhancer(tiny_float)
    hop = (faint * noise[:256] / np.abs(noise[:256]).max()).astype(np.float32)

    for _ in range(3):
        np.testing.assert_array_equal(
            enhancer.process(hop), silent.process(np.zeros(256, np.float32))
        )
