"""Chunks of any length: the same samples as in hops, later by what is said."""

from collections.abc import Iterator

import numpy as np
import pytest

from edge_se import ChunkedEnhancer, Enhancer
from edge_se.engines.samples import IntegerSamples
from edge_se.quantized import SAMPLE_STEP, Dequantizer, Quantizer


class FloatProcess:
    """Samples of int16 in and out, around a `process` that takes and gives floats in [-1, 1]."""

    def __init__(self, process, hop: int) -> None:
        self._process = process
        self._quantize = Quantizer((hop,), SAMPLE_STEP, 0, np.int16)
        self._dequantize = Dequantizer(SAMPLE_STEP, 0)
        self._frame = np.empty(hop, np.float32)

    def process(self, samples: np.ndarray, out: np.ndarray) -> None:
        self._dequantize(samples, self._frame)
        self._process(self._frame, self._frame)
        self._quantize(self._frame, out)


class Int16Enhancer(Enhancer):
    """The float loop behind int16 samples, as an engine in integers has them."""

    def __init__(self, path) -> None:
        super().__init__(path)
        inner = FloatProcess(self.engine.process, self.hop_size).process
        vars(self.engine)["process"] = inner
        self.sample_dtype = np.dtype(np.int16)
        self._dtypes = {np.dtype(np.float32), self.sample_dtype}
        self._process = IntegerSamples(inner, self.hop_size).process


def lengths(size: int | str) -> Iterator[int]:
    """Chunk sizes without an end; 0 and changing ones among the random."""
    random = np.random.default_rng(1)
    while True:
        yield int(random.integers(0, 700)) if size == "random" else int(size)


def split(samples: np.ndarray, size: int | str) -> Iterator[np.ndarray]:
    start = 0
    for length in lengths(size):
        if start >= len(samples):
            return
        yield samples[start : start + length]
        start += length


@pytest.fixture(params=[Enhancer, Int16Enhancer])
def enhancer(request, tiny_int8) -> Enhancer:
    return request.param(tiny_int8)


@pytest.fixture(params=["float32", "int16"])
def samples(request, noise) -> np.ndarray:
    short = noise[:5001]
    return short if request.param == "float32" else np.rint(short * 32768).astype(np.int16)


def in_hops(enhancer: Enhancer, samples: np.ndarray) -> np.ndarray:
    """What the loop of whole hops gives, [n + latency], in the dtype of the samples."""
    hop, latency = enhancer.hop_size, enhancer.latency_samples
    count = -(-(len(samples) + latency) // hop)
    padded = np.zeros(count * hop, np.float32)
    padded[: len(samples)] = samples if samples.dtype == np.float32 else samples / 32768
    enhancer.reset()
    out = np.concatenate([enhancer.process(frame) for frame in padded.reshape(count, hop)])
    if samples.dtype == np.int16:
        out = np.clip(np.rint(out * 32768), -32768, 32767).astype(np.int16)
    return out[: len(samples) + latency]


@pytest.mark.parametrize("size", [1, 160, 256, 320, 1024, "random"])
def test_any_chunks_give_what_hops_give_later_by_the_latency(enhancer, samples, size):
    expected = in_hops(enhancer, samples)
    chunked = ChunkedEnhancer(enhancer)
    assert chunked.latency_samples == 512

    for _ in range(2):  # after a flush it starts anew
        chunks = list(split(samples, size))
        outputs = [chunked.process(chunk) for chunk in chunks]
        assert [(len(o), o.dtype) for o in outputs] == [(len(c), c.dtype) for c in chunks]
        output = np.concatenate([*outputs, chunked.flush()])

        assert output.dtype == samples.dtype
        assert len(output) == len(samples) + chunked.latency_samples
        hop = enhancer.hop_size
        np.testing.assert_array_equal(output[hop:], expected)
        np.testing.assert_array_equal(output[:hop], np.zeros(hop))


def test_the_dtype_may_change_on_the_way(tiny_int8, noise):
    whole = (np.rint(noise[:3000] * 32768) / 32768).astype(np.float32)
    chunked = ChunkedEnhancer(Enhancer(tiny_int8))
    expected = np.concatenate([chunked.process(whole), chunked.flush()])

    first = chunked.process((whole[:1000] * 32768).astype(np.int16))
    second = chunked.process(whole[1000:])

    assert first.dtype == np.int16 and second.dtype == np.float32
    np.testing.assert_allclose(first / 32768, expected[:1000], atol=0.5 / 32768)
    np.testing.assert_array_equal(second, expected[1000:3000])


def test_reset_forgets_what_is_inside(tiny_int8, noise):
    chunked = ChunkedEnhancer(Enhancer(tiny_int8))
    expected = chunked.process(noise[:3000])
    chunked.reset()
    chunked.process(noise[3000:3777])

    chunked.reset()

    np.testing.assert_array_equal(chunked.process(noise[:3000]), expected)


def test_an_empty_stream_flushes_silence(tiny_int8):
    chunked = ChunkedEnhancer(Enhancer(tiny_int8))

    assert chunked.process(np.zeros(0, np.int16)).shape == (0,)
    np.testing.assert_array_equal(chunked.flush(), np.zeros(512, np.int16))


@pytest.mark.parametrize(
    "chunk",
    [
        np.zeros(3),
        np.zeros(3, np.int32),
        np.zeros((3, 1), np.float32),
        [0.0],
        b"ab",
        np.array([0, np.nan], np.float32),
        np.array([0, -np.inf], np.float32),
    ],
)
def test_what_is_no_chunk_is_refused_and_changes_nothing(tiny_int8, noise, chunk):
    chunked = ChunkedEnhancer(Enhancer(tiny_int8))
    expected = chunked.process(noise[:3000])
    chunked.reset()
    chunked.process(noise[:1000])

    with pytest.raises(ValueError, match=r"a chunk is float32 or int16|the chunk holds NaN"):
        chunked.process(chunk)

    np.testing.assert_array_equal(chunked.process(noise[1000:3000]), expected[1000:])
