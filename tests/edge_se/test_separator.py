"""Separation in windows: what each window sees, what comes out, and how much memory it takes."""

import json
import tracemalloc

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.errors import UserError
from edge_se.manifest import Chunk, Manifest
from edge_se.offline_stft import Analysis, Synthesis
from edge_se.separator import Aggressiveness, Separator, cut_windows
from tests.helpers.tiny_separator import (
    BINS,
    CHUNK,
    SIGNAL,
    expected_mask,
    separator_flatbuffer,
)


def stereo(length: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(length).standard_normal((length, 2))).astype(np.float32)


def separate_at_once(samples, exponents=1.0):
    """The accompaniment by one pass over the whole recording."""
    analysis, synthesis = Analysis(SIGNAL, 2), Synthesis(SIGNAL, 2)
    spectra = np.concatenate([analysis.push(samples), analysis.finish()])
    mask = expected_mask(np.abs(spectra) / np.abs(spectra).max()) ** exponents
    output = [synthesis.push((spectra * mask).astype(np.complex64)), synthesis.finish()]
    return np.concatenate(output)[: len(samples)]


@pytest.mark.parametrize("length", [1, 31, 4 * 32, 4 * 32 * 5, 3001])
def test_stems_of_any_length_equal_one_pass(tiny_separator, length):
    samples = stereo(length)

    vocals, accompaniment = Separator(tiny_separator).separate(samples)

    np.testing.assert_allclose(accompaniment, separate_at_once(samples), atol=1e-6)
    np.testing.assert_allclose(vocals + accompaniment, samples, atol=1e-6)


def test_int8_stems_are_near_the_float_ones(tiny_separator, tiny_separator_int8):
    samples = stereo(3001)

    _, found = Separator(tiny_separator_int8).separate(samples)

    wanted = Separator(tiny_separator).separate(samples)[1]
    assert np.square(wanted).sum() > 1000 * np.square(found - wanted).sum()


def test_silence_stays_silent(tiny_separator):
    vocals, accompaniment = Separator(tiny_separator).separate(np.zeros((500, 2), np.float32))
    assert not vocals.any() and not accompaniment.any()


@pytest.mark.parametrize("value", [3e38, 1e15, 1e-38, 1e-42])
def test_finite_recordings_give_finite_stems(tiny_separator, value):
    recording = np.float32(value) * np.ones((20000, 2), np.float32)

    for stem in Separator(tiny_separator).separate(recording):
        assert np.isfinite(stem).all()


def test_aggressiveness_sharpens_the_mask(tiny_separator):
    samples, separator = stereo(2000), Separator(tiny_separator)
    separator.aggressiveness = Aggressiveness(split_bin=10, value=0.6)

    _, accompaniment = separator.separate(samples)

    exponents = np.where(np.arange(BINS) < 10, 1.2, 1.6)[:, None]
    np.testing.assert_allclose(accompaniment, separate_at_once(samples, exponents), atol=1e-6)


@pytest.mark.parametrize("frames", [1, 4, 7, 8, 13])
@pytest.mark.parametrize("block", [1, 3, 20])
def test_windows_are_padded_and_cropped_as_upstream_does(frames, block):
    """Upstream pads with `offset` zeros before and enough after, and cuts every `kept` frames."""
    spectra = np.arange(1, frames + 1)[:, None, None] * np.ones((1, 3, 2), np.complex64)
    padded = np.concatenate([np.zeros((2, 3, 2)), spectra, np.zeros((12, 3, 2))])

    windows = list(
        cut_windows([spectra[start : start + block] for start in range(0, frames, block)], CHUNK)
    )

    for number, (window, _) in enumerate(windows):
        first = number * CHUNK.kept
        np.testing.assert_array_equal(window, padded[first : first + CHUNK.frames])
    middles = np.concatenate([window[middle] for window, middle in windows])
    np.testing.assert_array_equal(middles, spectra)


def test_memory_does_not_grow_with_the_recording(tiny_separator):
    separator = Separator(tiny_separator)

    def peak(blocks: int) -> int:
        tracemalloc.start()
        recording = [stereo(4000)]
        for _ in separator.separate_blocks(lambda: blocks * recording):
            pass
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(40) < 1.2 * peak(4)


def test_each_kind_of_model_says_which_command_runs_it(tiny_separator, tiny_float):
    with pytest.raises(UserError, match="run it by edge-se separate"):
        Enhancer(tiny_separator)
    with pytest.raises(UserError, match="run it by edge-se enhance"):
        Separator(tiny_float)


def test_a_separators_manifest_survives_json():
    manifest = separator_flatbuffer()[1]
    assert Manifest.from_json(manifest.to_json(), "model.tflite") == manifest
    assert manifest.chunk == Chunk(8, 2)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("chunk", None, "features are 'stereo_magnitude' and its mask .* but its chunk is None"),
        ("chunk", 8, "its chunk is 8, not an object"),
        ("chunk", {"frames": 8}, "chunk has no offset"),
        ("chunk", {"frames": 8, "offset": 4}, "keeps no frame"),
        ("chunk", {"frames": 16, "offset": 2}, r"features has the shape \[1, 8, 33, 2\]"),
        ("signal", {"hop": 40}, "hop of 40 samples is not between 1 and 32"),
    ],
)
def test_a_wrong_separator_manifest_is_refused(field, value, complaint):
    content = json.loads(separator_flatbuffer()[1].to_json())
    content[field] = content[field] | value if field == "signal" else value
    with pytest.raises(UserError, match=complaint):
        Manifest.from_json(json.dumps(content), "model.tflite")
