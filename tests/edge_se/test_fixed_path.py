"""The fixed-point signal path as a whole: no float, no overflow, and how near it is to float64."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from calib_data import clips_folder
from edge_se import Enhancer, core
from edge_se.engines.fixed_path import FixedPath
from edge_se.engines.float_path import FloatPath
from edge_se.engines.loop import FrameLoop
from edge_se.errors import UserError
from edge_se.manifest import TensorSpec
from edge_se.quantized import quantize
from edge_se.strength import Strength
from tests.helpers.fixed_signals import (
    BAND_FEATURES,
    BANDS,
    BINS,
    FEATURES,
    GAINS,
    HOP,
    LOGARITHMIC,
    LOGARITHMS,
    MASK,
    SIGNAL,
    at_level,
    buffers,
    manifest,
    passing_mask,
    reference,
    snr_db,
    stream,
)
from tests.helpers.fixed_vectors import VECTORS, compute
from tests.helpers.tiny_model import expected_output

INT16_MASK = TensorSpec(1, (2, BINS), "int16", 2.0**-13, 0)
FINE_LOGARITHMS = TensorSpec(0, (1, BINS), "int16", 12 / 32000, 0)
LARGEST = 2**31


class Watched(np.ndarray):
    """Integers whose every operation is checked: no float, and no factor wider than 32 bits."""

    operations = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options) -> Any:
        Watched.operations += 1
        plain = [x.view(np.ndarray) if isinstance(x, Watched) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        for array in (*plain, result):
            assert np.asarray(array).dtype.kind in "iub", (ufunc, array)
        if ufunc is np.multiply:
            assert all(np.abs(np.asarray(x)).max() <= LARGEST for x in plain)
        assert np.abs(np.asarray(result, np.float64)).max() < 2**62.6
        return watched(result)

    def __array_function__(self, function, types, arguments, options) -> Any:
        return watched(super().__array_function__(function, types, arguments, options))


def watched(result: Any) -> Any:
    return result.view(Watched) if isinstance(result, np.ndarray) else result


def watch(path: FixedPath) -> FixedPath:
    """Have everything that a path computes with watched."""
    for name, value in vars(path).items():
        if isinstance(value, np.ndarray):
            setattr(path, name, watched(value))
    return path


def make(mask_spec: TensorSpec = MASK, mask: np.ndarray | None = None) -> FixedPath:
    described = manifest(mask=mask_spec)
    features, buffer = buffers(described)
    buffer[...] = passing_mask(mask_spec) if mask is None else mask
    return FixedPath(described, features, buffer)


def white(dbfs: float) -> np.ndarray:
    return at_level(np.random.default_rng(1).standard_normal(32000), dbfs)


def speech(name: str, dbfs: float) -> np.ndarray:
    samples, _ = soundfile.read(clips_folder() / "clean" / f"{name}.flac")
    return at_level(samples[:64000], dbfs)


signals = st.one_of(
    st.sampled_from([0, 1, -1, 32767, -32768]).map(lambda v: np.full(4 * HOP, v)),
    st.integers(1, 512).map(lambda n: np.where(np.arange(4 * HOP) // n % 2, 32767, -32768)),
    st.tuples(st.integers(0, 4 * HOP - 1), st.sampled_from([1, -1, 32767, -32768])).map(
        lambda impulse: np.where(np.arange(4 * HOP) == impulse[0], impulse[1], 0)
    ),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 15)).map(
        lambda seed: np.random.default_rng(seed[0]).integers(-(2 ** seed[1]), 2 ** seed[1], 4 * HOP)
    ),
    st.integers(0, 256).map(
        lambda k: np.where(np.cos(2 * np.pi * k * np.arange(4 * HOP) / 512) >= 0, 32767, -32768)
    ),
).map(lambda x: x.astype(np.int16))
masks = st.one_of(
    st.sampled_from([-128, 0, 5, 127]).map(lambda v: np.full((2, BINS), v, np.int8)),
    st.integers(0, 99).map(
        lambda seed: np.random.default_rng(seed).choice([-128, 127], (2, BINS)).astype(np.int8)
    ),
)


@settings(max_examples=60, deadline=None)
@given(signals, masks)
def test_nothing_is_float_or_overflows(samples, mask):
    path = watch(make(mask=mask))
    before = Watched.operations

    stream(path, samples)

    assert Watched.operations - before > 4 * 200


@pytest.mark.parametrize("front_end", ["attenuate", "follow"])
def test_nothing_is_float_with_a_normalized_level(front_end):
    described = manifest(level_dbfs=-28.0, front_end=front_end)
    path = watch(FixedPath(described, *buffers(described)))

    stream(path, white(-10)[: 200 * HOP])

    assert path._normalize is not None
    assert path._normalize.exponent < 0
    assert all(type(value) in (int, bool) for value in vars(path._normalize).values())


@settings(max_examples=30, deadline=None)
@given(signals, masks, st.sampled_from([Strength(0.0, 0.5), Strength(40.0), Strength(mix=1.0)]))
def test_nothing_is_float_or_overflows_at_less_strength(samples, mask, strength):
    finest = replace(MASK, scale=2.0**-40)  # 1 is as many of its steps as there can be
    for spec in (MASK, finest):
        path = watch(make(spec, mask))
        path.set_strength(strength)

        stream(path, samples)


@settings(max_examples=30, deadline=None)
@given(signals)
def test_sixteen_bit_masks_do_not_overflow_either(samples):
    stream(watch(make(INT16_MASK, np.full((2, BINS), -32768, np.int16))), samples)


@settings(max_examples=60, deadline=None)
@given(signals)
def test_output_is_the_reference_saturated(samples):
    path = make()

    output = stream(path, samples)

    expected = np.clip(reference(samples, path._mask), -32768, 32767)
    np.testing.assert_allclose(output, expected, atol=8)


def test_silence_stays_silent():
    path = make()

    output = stream(path, np.zeros(4 * HOP, np.int16))

    assert not output.any()
    assert (path._features == FEATURES.zero_point).all()


@pytest.mark.parametrize(("dbfs", "least"), [(-20, 78), (-50, 50)])
def test_white_noise_is_as_good_as_int16_allows(dbfs, least):
    path, samples = make(), white(dbfs)

    assert snr_db(reference(samples, path._mask), stream(path, samples)) > least


@pytest.mark.parametrize(("dbfs", "least"), [(-20, 78), (-50, 50)])
@pytest.mark.parametrize("name", ["en_03", "de_01", "tr_01"])
def test_speech_is_as_good_as_int16_allows(name, dbfs, least):
    path, samples = make(), speech(name, dbfs)

    assert snr_db(reference(samples, path._mask), stream(path, samples)) > least


@pytest.mark.parametrize("spec", [FEATURES, TensorSpec(0, (3, BINS), "int16", 300 / 32768, 0)])
def test_features_are_the_spectrum_s_quantized(spec):
    described = manifest(features=spec)
    features, mask = buffers(described)
    samples = white(-20)[: 2 * HOP]

    stream(FixedPath(described, features, mask), samples)

    window = np.sin(np.pi * np.arange(512) / 512)
    spectrum = np.fft.rfft(samples / 32768 * window)
    rows = np.stack([np.abs(spectrum), spectrum.real, spectrum.imag])
    exact = rows / spec.scale + spec.zero_point
    assert np.abs(features - exact)[np.abs(exact) < 127].max() < 0.51
    np.testing.assert_array_equal(
        features, np.clip(features, *np.clip([exact.min() - 1, exact.max() + 1], -32768, 32767))
    )


@pytest.mark.parametrize(("dbfs", "bound"), [(-50, 0.5), (-20, 0.5), (-20, 256.0)])
def test_bins_are_merged_to_bands_in_two_parts(dbfs, bound):
    bands = replace(BANDS, bound=bound)
    described = manifest(features=BAND_FEATURES, bands=bands)
    features, mask = buffers(described)
    samples = white(dbfs)[: 2 * HOP]

    stream(FixedPath(described, features, mask), samples)

    spectrum = np.fft.rfft(samples / 32768 * np.sin(np.pi * np.arange(512) / 512))
    bins = np.stack([np.abs(spectrum), spectrum.real, spectrum.imag])
    fine = bins.clip(-bound, bound)
    parts = np.concatenate([fine, (bins - fine) / bands.ratio])
    merged = np.concatenate([parts[:, :65], parts[:, 65:] @ bands.matrix(BINS)], axis=1)
    exact = merged / BAND_FEATURES.scale + BAND_FEATURES.zero_point
    assert np.abs(features - exact.clip(-128, 127)).max() < 0.51
    assert np.any(parts[3:]) == (dbfs == -20 and bound < 256)


def test_both_paths_merge_bins_alike():
    described = manifest(features=BAND_FEATURES, bands=BANDS)
    samples = white(-20)[: 2 * HOP]
    (integers, mask), (floats, _) = buffers(described), buffers(described)
    path = FloatPath(described, floats, mask)

    stream(FixedPath(described, integers, mask), samples)
    for start in (0, HOP):
        path.analyse((samples[start : start + HOP] / 32768).astype(np.float32))

    # Halves may be rounded either way.
    difference = np.abs(integers.astype(int) - floats)
    assert difference.max() <= 1 and difference.mean() < 0.01


def make_logarithmic(dtype: str = "int16") -> FixedPath:
    features = LOGARITHMS if dtype == "int8" else FINE_LOGARITHMS
    described = manifest(features, GAINS, signal=LOGARITHMIC)
    written, mask = buffers(described)
    mask[...] = 127
    return FixedPath(described, written, mask)


def logarithms(samples: np.ndarray) -> np.ndarray:
    """Of the magnitudes of one window in float64 [257], to the base 10."""
    spectrum = np.fft.rfft(samples / 32768 * LOGARITHMIC.analysis_window())
    return np.log10(np.maximum(np.abs(spectrum), 1e-12))


@pytest.mark.parametrize(
    ("dbfs", "most_db"), [(-3, 0.1), (-20, 0.1), (-50, 0.1), (-80, 0.1), (-100, 0.1)]
)
def test_logarithms_are_those_of_floats(dbfs, most_db):
    path, samples = make_logarithmic(), white(dbfs)[: 40 * HOP]
    assert dbfs > -100 or set(np.unique(samples)) == {-1, 0, 1}
    before, differences = np.zeros(HOP, np.int16), []

    for hop in samples.reshape(-1, HOP):  # the first window is half silence
        path.analyse(hop)
        exact = logarithms(np.concatenate([before, hop]))
        differences.append(20 * np.abs(path._features[0] * FINE_LOGARITHMS.scale - exact))
        before = hop

    assert np.max(differences) < most_db


@pytest.mark.parametrize("name", ["en_03", "de_01", "tr_01"])
@pytest.mark.parametrize("dbfs", [-20, -50])
def test_logarithms_of_speech_are_those_of_floats_but_for_a_step(name, dbfs):
    path, samples = make_logarithmic("int8"), speech(name, dbfs)
    before, differences = np.zeros(HOP, np.int16), []

    for hop in samples.reshape(-1, HOP):
        path.analyse(hop)
        exact = logarithms(np.concatenate([before, hop])) / LOGARITHMS.scale + LOGARITHMS.zero_point
        differences.append(np.abs(path._features[0] - np.rint(exact).clip(-128, 127)))
        before = hop

    # Steps of 0.6 dB; bins 90 dB below others are not told by windows of 16 bits.
    assert np.mean(differences) < 0.1 and np.mean(np.array(differences) > 1) < 0.01


def test_silence_has_the_least_logarithm():
    path = make_logarithmic()

    output = stream(path, np.zeros(2 * HOP, np.int16))

    assert not output.any()
    np.testing.assert_array_equal(path._features, round(-12 / FINE_LOGARITHMS.scale))


def test_a_logarithm_saturates_in_8_bits():
    path = make_logarithmic("int8")

    stream(path, np.zeros(HOP, np.int16))

    np.testing.assert_array_equal(path._features, -128)


@settings(max_examples=60, deadline=None)
@given(signals)
def test_no_logarithm_is_float_or_overflows(samples):
    stream(watch(make_logarithmic()), samples)


@pytest.mark.parametrize("dbfs", [-20, -50])
def test_a_hann_window_and_its_dual_are_as_good_as_int16_allows(dbfs):
    path, samples = make_logarithmic(), white(dbfs)
    path._mask[0] = np.rint(255 * np.cos(np.arange(BINS) / 40) ** 2) - 128

    expected = reference(samples, path._mask, GAINS, LOGARITHMIC)

    assert snr_db(expected, stream(path, samples)) > snr_db(expected, np.rint(expected)) - 0.5


def test_int8_features_saturate():
    described = manifest(features=replace(FEATURES, scale=1e-4))
    features, mask = buffers(described)

    stream(FixedPath(described, features, mask), white(-20)[:HOP])

    assert features[0].min() == features[0].max() == 127
    assert set(np.unique(features[1])) == {-128, 127} or features[1].min() == -128


def test_the_mask_may_lag():
    described = manifest(lookahead_frames=2)
    features, mask = buffers(described)
    mask[...] = passing_mask()
    samples = white(-20)[: 8 * HOP]

    output = stream(FixedPath(described, features, mask), samples)

    np.testing.assert_array_equal(output[2 * HOP :], stream(make(), samples)[: -2 * HOP])


def test_reset_forgets_everything():
    path, samples = make(), white(-20)[: 6 * HOP]
    first = stream(path, samples)

    path.reset()

    np.testing.assert_array_equal(stream(path, samples), first)


def test_vectors_are_reproduced_bit_for_bit():
    stored = json.loads(VECTORS.read_text())

    assert compute() == stored


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": TensorSpec(0, (3, BINS))}, "quantize with --precision int8"),
        ({"mask": TensorSpec(1, (2, BINS))}, "quantize with --precision int8"),
        ({"mask": replace(MASK, scale=1.0)}, "out of the fixed-point STFT's reach"),
        ({"mask": replace(INT16_MASK, scale=0.01)}, "out of the fixed-point STFT's reach"),
        ({"features": replace(FEATURES, scale=1e-20)}, "out of the fixed-point STFT's reach"),
        ({"window": 256, "hop": 128}, "window of 512 samples"),
        ({"hop": 128}, "hops of 256"),
    ],
)
def test_models_out_of_reach_are_refused(changes, message):
    described = replace(
        manifest(**{k: v for k, v in changes.items() if k in ("features", "mask")}),
        signal=replace(
            SIGNAL, **{k: v for k, v in changes.items() if k not in ("features", "mask")}
        ),
    )

    with pytest.raises(UserError, match=message):
        FixedPath(described, *buffers(described))


def test_enhance_refuses_a_float_model(edge_se, tiny_float, tmp_path):
    soundfile.write(tmp_path / "in.wav", np.zeros(999, np.int16), 16000)

    result = edge_se("enhance", "in.wav", "out.wav", "--model", tiny_float, "--stft", "fixed")

    assert result.returncode == 2
    assert "quantize with --precision int8 or take the float STFT" in result.stderr
    assert not (tmp_path / "out.wav").exists()


def test_every_command_that_has_the_option_heeds_it(edge_se, tiny_float):
    stream = edge_se("stream", "--model", tiny_float, "--stft", "fixed", input="")
    benchmark = edge_se("benchmark", "--model", tiny_float, "--stft", "fixed")

    for result in (stream, benchmark):
        assert result.returncode == 2
        assert "the fixed-point STFT needs integer features" in result.stderr


def test_an_int8_model_has_no_float_from_samples_to_samples(tiny_int8, noise, monkeypatch):
    monkeypatch.setattr(core, "load_core", lambda: None)
    enhancer = Enhancer(tiny_int8, stft="fixed")
    samples = quantize(noise[:HOP], 2.0**-15, 0, np.int16)
    assert isinstance(enhancer.engine, FrameLoop)
    assert isinstance(enhancer.engine._path, FixedPath)
    watch(enhancer.engine._path)

    output = enhancer.process(samples)

    step = enhancer.engine._step
    arrays = [output, step.features, step.mask, *(step.cache.raw(name) for name in step.cache)]
    assert [array.dtype.name for array in arrays] == ["int16", "int8", "int8", "int8"]


def test_enhancing_gives_what_the_float_path_gives(tiny_int8, noise):
    fixed, floating = (Enhancer(tiny_int8, stft=stft).enhance(noise) for stft in ("fixed", "float"))

    assert fixed.dtype == np.float32 and fixed.shape == noise.shape
    assert snr_db(floating, fixed) > 40
    assert snr_db(expected_output(noise), fixed) > 25


def test_float_and_int16_frames_give_the_same(tiny_int8, noise):
    frame = quantize(noise[:HOP], 2.0**-15, 0, np.int16)
    first, second = (Enhancer(tiny_int8, stft="fixed") for _ in range(2))

    for _ in range(2):
        integers, floats = first.process(frame), second.process(frame / np.float32(32768))

    np.testing.assert_array_equal(integers / np.float32(32768), floats)


def test_the_float_path_takes_no_int16_frames(tiny_int8):
    with pytest.raises(ValueError, match="a frame is float32"):
        Enhancer(tiny_int8, stft="float").process(np.zeros(HOP, np.int16))
