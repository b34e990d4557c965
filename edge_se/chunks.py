"""A stream in chunks of any length, as sound cards and network packets bring it."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_se.full_band import FullBand
from edge_se.quantized import SAMPLE_STEP, dequantize, quantize
from edge_se.resampling import Resampler

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

_FLOAT32, _INT16 = np.dtype(np.float32), np.dtype(np.int16)


def nothing() -> None:
    """What is called where nobody asks for a call."""


class ChunkedEnhancer:
    """An `Enhancer` for chunks of any length: as many samples come out as go in, later.

    Attributes:
        enhancer: Which runs whenever a hop is full; it serves this stream alone.
        sample_rate: In Hz.
        latency_samples: How far output samples lag input samples: a hop, which is collected first,
            and the enhancer's own latency; 512, or 32 ms, for the built-in model.
    """

    def __init__(self, enhancer: "Enhancer", after_frame: Callable[[], object] = nothing) -> None:
        """Start a stream; what the enhancer has heard before is forgotten.

        Args:
            enhancer: Of the stream.
            after_frame: Called after each of its frames.
        """
        self.enhancer = enhancer
        self._after_frame = after_frame
        self.sample_rate = enhancer.sample_rate
        self.latency_samples = enhancer.hop_size + enhancer.latency_samples
        # The last hop's output, which the next hop's input takes the place of, sample by sample.
        self._hop = np.zeros(enhancer.hop_size, enhancer.sample_dtype)
        self._filled = 0
        self._dtype = _FLOAT32
        self.reset()

    def process(self, chunk: NDArray[Any]) -> NDArray[Any]:
        """Enhance the next samples of a stream.

        Args:
            chunk: float32 [n], nominally in [-1, 1], or int16 [n]; n may be 0 and may change, as
                the dtype may.

        Returns:
            Of the chunk's shape and dtype, `latency_samples` behind the input; zeros at first.

        Raises:
            ValueError: The chunk has another shape or dtype, or holds NaN or infinity; the stream
                is as if it had not come.
        """
        dtype, shape = getattr(chunk, "dtype", type(chunk)), getattr(chunk, "shape", "unknown")
        if dtype not in (_FLOAT32, _INT16) or chunk.ndim != 1:
            raise ValueError(
                f"a chunk is float32 or int16 of shape (n,), got {dtype} of shape {shape}"
            )
        if chunk.dtype == _FLOAT32 and not np.isfinite(chunk).all():
            raise ValueError("the chunk holds NaN or infinite samples")
        self._dtype = chunk.dtype
        samples = converted(chunk, self._hop.dtype)
        out = np.empty_like(samples)
        hop, done = self._hop, 0
        while done < len(samples):
            count = min(len(samples) - done, len(hop) - self._filled)
            part, place = slice(done, done + count), slice(self._filled, self._filled + count)
            out[part] = hop[place]
            hop[place] = samples[part]
            done += count
            self._filled += count
            if self._filled == len(hop):
                self.enhancer.process(hop, hop)
                self._after_frame()
                self._filled = 0
        return converted(out, chunk.dtype)

    def flush(self) -> NDArray[Any]:
        """End the stream, and start anew.

        Returns:
            What is still inside, [latency_samples] of the last chunk's dtype. All that came out,
            without the first `latency_samples` samples, is as long as the input and aligned.
        """
        rest = self.process(np.zeros(self.latency_samples, self._dtype))
        self.reset()
        return rest

    def reset(self) -> None:
        """Start anew; what is still inside is lost."""
        self.enhancer.reset()
        self._hop[...] = 0
        self._filled = 0


class AlignedStream:
    """One signal in chunks of any length, aligned in time: what comes out lags, but has no delay.

    All that comes out together is what `Enhancer.enhance` gives.
    """

    def __init__(
        self,
        enhancer: "Enhancer",
        rate: int | None = None,
        full_band: bool = True,
        after_frame: Callable[[], object] = nothing,
    ) -> None:
        """Start a signal; the enhancer serves nothing else until it is finished.

        Args:
            enhancer: What it has heard before is forgotten.
            rate: Of the signal, in Hz; None for the enhancer's.
            full_band: Whether what lies above the enhancer's band is in the output.
            after_frame: Called after each of the enhancer's frames.
        """
        own = enhancer.sample_rate
        self._rate = own if rate is None else rate
        self._enhancer, self._after_frame = enhancer, after_frame
        self._down, self._up = Resampler(self._rate, own), Resampler(own, self._rate)
        self._full_band: FullBand | None = None
        if full_band and self._rate > own:
            self._full_band = FullBand(enhancer.hop_size, own, self._rate)
        self._rest: NDArray[Any] = np.empty(0, enhancer.sample_dtype)
        self._early = enhancer.latency_samples  # what comes out first lies before the signal
        self._dtype = _FLOAT32
        self._left = 0  # samples that came in and have not gone out
        enhancer.reset()

    @property
    def latency(self) -> int:
        """How many samples later than its time a sample may come out, once its hop is full."""
        ratio = Fraction(self._rate, self._enhancer.sample_rate)
        late = self._enhancer.latency_samples + self._up.half
        return math.ceil(late * ratio) + self._down.half

    @property
    def needed(self) -> int:
        """How many samples make the next hop full."""
        return self._down.needed(self._enhancer.hop_size - len(self._rest))

    def push(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Take in finite float32 or int16 [n]; gives what is ready, [m], which may be empty.

        int16 stays int16 where the rate is the enhancer's.
        """
        self._dtype = samples.dtype
        self._left += len(samples)
        if self._rate != self._enhancer.sample_rate:
            samples = converted(samples, _FLOAT32)
        heard = self._down.push(samples[:, None])[:, 0]
        changed = self._enhance(heard)
        if self._full_band is not None:
            changed = self._full_band.split(heard, changed)
        out = self._up.push(changed[:, None])[:, 0]
        if self._full_band is not None:
            out = self._full_band.join(out, samples)
        self._left -= len(out)
        return out

    def finish(self) -> NDArray[Any]:
        """What is left of the signal, [m], pushed out by silence; the states are reset."""
        left, parts = self._left, [self.push(np.empty(0, self._dtype))]
        while sum(map(len, parts)) < left:
            parts.append(self.push(np.zeros(self.needed, self._dtype)))
        self._enhancer.reset()
        return np.concatenate(parts)[:left]

    def _enhance(self, heard: NDArray[Any]) -> NDArray[Any]:
        """Whole hops of what came, from the signal's start on, in the dtype it came in."""
        hop = self._enhancer.hop_size
        waiting = np.concatenate([self._rest, converted(heard, self._rest.dtype)])
        whole = waiting[: len(waiting) // hop * hop]
        self._rest = waiting[len(whole) :]
        for frame in whole.reshape(-1, hop):
            self._enhancer.process(frame, frame)
            self._after_frame()
        early = min(self._early, len(whole))
        self._early -= early
        return converted(whole[early:], heard.dtype)


def converted(samples: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Samples as float32 or int16; floats beyond [-1, 1] are clipped by int16."""
    if samples.dtype == dtype:
        return samples
    if dtype == _INT16:
        return quantize(samples, SAMPLE_STEP, 0, np.int16)
    return dequantize(samples, SAMPLE_STEP, 0).astype(np.float32, copy=False)
