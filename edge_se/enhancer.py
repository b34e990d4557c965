"""The runtime's front door: frames or whole signals in, enhanced ones out."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_se.chunks import AlignedStream
from edge_se.engines import load_engine
from edge_se.engines.choice import float_samples
from edge_se.manifest import Manifest
from edge_se.model_file import default_model_path, find_model
from edge_se.samples import FAINTEST, LOUDEST, SAMPLE_LIMIT, complain
from edge_se.states import StateCache
from edge_se.stft import Samples
from edge_se.strength import Strength

_FLOAT32 = np.dtype(np.float32)


class Enhancer:
    """Speech enhancement frame by frame, with its states kept between calls.

    One instance serves one stream; it is not safe to share between threads.

    Attributes:
        model_path: Of the model file.
        manifest: Of the model.
        engine: What runs it; see `edge_se.engines.StagedEngine`.
        hop_size: Samples per frame.
        sample_rate: In Hz.
        sample_dtype: Of the samples that the engine takes without conversion, float32 or int16.
        latency_samples: How far output samples lag input samples.
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        engine: str | None = None,
        runtime: str | None = None,
        stft: str | None = None,
    ) -> None:
        """Load a model, warmed up and ready for its first frame.

        Args:
            model_path: A .tflite made by `edge-se quantize`, an .onnx made by `edge-se convert` or
                a .so made by `edge-se compile`, or the name of a built-in model; None for the
                default one of these.
            engine: "tflite", "onnxruntime" or "c"; None or "auto" for C where it computes what the
                file does, else for the one that the file asks for.
            runtime: "ai_edge_litert", "tflite_runtime" or "tensorflow"; None for the first one
                installed.
            stft: "float", or "fixed" for the one in integers; None for what the model says.

        Raises:
            UserError: The model can't be loaded.
        """
        self.model_path = default_model_path() if model_path is None else find_model(model_path)
        self.engine = load_engine(self.model_path, engine, runtime, stft)
        self.manifest: Manifest = self.engine.manifest
        self.hop_size = self.manifest.signal.hop
        self.sample_rate = self.manifest.signal.sample_rate
        self.latency_samples = self.manifest.latency_samples
        self.sample_dtype = self.engine.sample_dtype
        self._frame_shape = (self.hop_size,)
        self._faintest = self.hop_size * FAINTEST**2
        self._silence = np.zeros(self.hop_size, np.float32)
        self._warned = False
        self.strength = self.manifest.strength
        self._dtypes = {_FLOAT32, self.sample_dtype}
        self._process: Callable[[Samples, Samples], object] = self.engine.process
        if self.sample_dtype != _FLOAT32:
            self._process = float_samples(self.engine.process, self.hop_size)

    @property
    def states(self) -> StateCache:
        """The model's states by name, as real values."""
        return self.engine.cache

    @property
    def strength(self) -> Strength:
        """How much is taken away; at first what the model says. It holds from the next frame on."""
        return self._strength

    @strength.setter
    def strength(self, strength: Strength) -> None:
        self._strength = strength
        self.engine.set_strength(strength)

    @property
    def max_attenuation_db(self) -> float | None:
        """No sound is attenuated by more, 0 to 100 dB; None for no limit.

        Raises:
            ValueError: When set to anything else, as `mix`.
        """
        return self._strength.max_attenuation_db

    @max_attenuation_db.setter
    def max_attenuation_db(self, limit: float | None) -> None:
        self.strength = replace(self._strength, max_attenuation_db=limit)

    @property
    def mix(self) -> float:
        """Share of the input in the output, 0 to 1, aligned to the sample."""
        return self._strength.mix

    @mix.setter
    def mix(self, mix: float) -> None:
        self.strength = replace(self._strength, mix=mix)

    @property
    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the window of the frame given last holds speech.

        The enhanced frame that `process` gave is the first half of that window. It is told by what
        the mask leaves, whatever `strength` leaves; see `edge_se.speech`. It costs nothing where
        nobody asks.
        """
        return self.engine.speech_probability()

    def process(self, frame: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Enhance the next frame of a stream.

        Args:
            frame: float32 [hop_size], nominally in [-1, 1]; or int16 where `sample_dtype` is.
            out: Of the same shape and dtype, to write into, which may be `frame` itself; a new
                array is made when it is not given.

        Returns:
            The enhanced frame, `latency_samples` behind the input.

        Warns:
            RuntimeWarning: Samples exceed `LOUDEST`, once. Beyond 60 dB above full scale they are
                cut off, so that the output is finite.

        Raises:
            ValueError: The frame or `out` has another shape or dtype, or the frame holds NaN or
                infinity (which the states would keep for ever).
        """
        self._check_frame(frame, self._dtypes)
        if out is None:
            out = np.empty(self.hop_size, frame.dtype)
        else:
            self._check_frame(out, {frame.dtype})
        if frame.dtype != _FLOAT32:
            self.engine.process(frame, out)
            return out
        # One inner product meets every sample: all are within the bound where it is. Unlike `dot`,
        # `vdot` does not warn where it overflows.
        energy = float(np.vdot(frame, frame))
        if not energy <= LOUDEST**2:
            frame = self._cut_off(frame)
        elif energy < self._faintest:
            frame = self._silence
        self._process(frame, out)
        return out

    def enhance(
        self, samples: ArrayLike, rate: int | None = None, full_band: bool = True
    ) -> Samples:
        """Enhance a whole signal from a fresh start.

        Args:
            samples: Real floating point [n], nominally in [-1, 1].
            rate: Of the samples, in Hz; None for `sample_rate`.
            full_band: Whether what lies above half of `sample_rate` is kept, attenuated as the
                model attenuates what lies just below.

        Returns:
            float32 [n], aligned in time with the input. The states are reset before and after.

        Raises:
            ValueError: The signal is not one-dimensional, not floating point, not finite or far
                beyond full scale, as samples in 16-bit units are; or the rate is none.
        """
        signal = np.asarray(samples)
        if signal.ndim != 1 or not np.issubdtype(signal.dtype, np.floating):
            raise ValueError(
                f"a signal is one-dimensional floating point in [-1, 1], got {signal.dtype} of "
                f"shape {signal.shape}"
            )
        if complaint := complain(signal):
            raise ValueError(f"the signal holds {complaint}")
        stream = AlignedStream(self, rate, full_band)
        return np.concatenate([stream.push(signal.astype(np.float32)), stream.finish()])

    def reset(self) -> None:
        """Start anew, as after loading."""
        self.engine.reset()

    def describe(self) -> dict[str, Any]:
        """What runs: model file, architecture, precision, size, engine and runtime."""
        return {
            "file": str(self.model_path),
            "size_kb": round(self.model_path.stat().st_size / 1000, 1),
            "architecture": self.manifest.architecture,
            "precision": self.manifest.precision,
            **self.engine.describe(),
        }

    def _cut_off(self, frame: Samples) -> Samples:
        """A loud frame within `SAMPLE_LIMIT`; warns, once, where it is in another unit.

        Raises:
            ValueError: It is not finite.
        """
        complaint = complain(frame)
        if not np.isfinite(frame).all():
            raise ValueError(f"the frame holds {complaint}")
        if complaint and not self._warned:
            self._warned = True
            warnings.warn(f"the frame holds {complaint}", RuntimeWarning, stacklevel=3)
        limited: Samples = np.clip(frame, -SAMPLE_LIMIT, SAMPLE_LIMIT)
        return limited

    def _check_frame(self, frame: Any, dtypes: set[np.dtype[Any]]) -> None:
        right = isinstance(frame, np.ndarray) and frame.dtype in dtypes
        if not right or frame.shape != self._frame_shape:
            got = (
                f"{frame.dtype} of shape {frame.shape}" if hasattr(frame, "dtype") else type(frame)
            )
            names = " or ".join(sorted(dtype.name for dtype in dtypes))
            raise ValueError(f"a frame is {names} of shape ({self.hop_size},), got {got}")
