"""The frame loop that all engines running a one-frame step share.

samples -> analysis -> features -> step (states carried) -> mask on the spectrum -> synthesis.
A signal path does what comes before and after the step, in float or in integers.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.choice import make_path
from edge_se.manifest import Manifest
from edge_se.states import StateCache
from edge_se.strength import Strength

WARM_UP_FRAMES = 3


class Step(Protocol):
    """Runs the one-frame step on buffers that stay where they are.

    Attributes:
        manifest: Of the model.
        features: The step's input [3, bins], of the dtype its manifest says; written before `run`.
        mask: The step's output [2, bins]; read after `run`.
        cache: The states.
    """

    manifest: Manifest
    features: NDArray[Any]
    mask: NDArray[Any]
    cache: StateCache

    def run(self) -> None:
        """Compute one frame; the new states are in the outputs until the cache carries them."""

    def describe(self) -> dict[str, Any]:
        """As of `edge_se.engines.Engine`."""


class SignalPath(Protocol):
    """What lies between samples and the one-frame step, in both directions.

    Attributes:
        sample_dtype: Of the samples it takes and gives, float32 or int16.
    """

    sample_dtype: np.dtype[Any]

    def analyse(self, samples: NDArray[Any]) -> None:
        """Analysis: one hop of samples to the step's features."""

    def synthesise(self, out: NDArray[Any]) -> None:
        """Synthesis: the mask applied, and one enhanced hop written to `out`."""

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on."""

    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the newest frame out holds speech; see `edge_se.speech`."""

    def reset(self) -> None:
        """Forget all samples."""

    def describe(self) -> dict[str, Any]:
        """What runs, for reports."""


class FrameLoop:
    """The engine around a step; see `edge_se.engines.StagedEngine`."""

    def __init__(self, step: Step, stft: str | None = None) -> None:
        """Build the loop, run a few frames so that every page and cache is touched, and reset.

        Args:
            step: The one-frame step.
            stft: "float" or "fixed"; None for what the manifest says.

        Raises:
            UserError: The fixed-point path can't serve this model.
        """
        self.manifest, self.cache = step.manifest, step.cache
        self._step = step
        kind = stft or step.manifest.stft
        self._path = make_path(kind, step.manifest, step.features, step.mask)
        self.sample_dtype = self._path.sample_dtype
        self.analyse, self.synthesise = self._path.analyse, self._path.synthesise
        self.set_strength = self._path.set_strength
        self.speech_probability = self._path.speech_probability
        self._run, self._carry = step.run, step.cache.carry
        self.reset()
        silence = np.zeros(self.manifest.signal.hop, self.sample_dtype)
        for _ in range(WARM_UP_FRAMES):
            self.process(silence, silence)
        self.reset()

    def process(self, samples: NDArray[Any], out: NDArray[Any]) -> None:
        """Take in one hop ([hop] of `sample_dtype`) and write one enhanced hop to `out`."""
        self.analyse(samples)
        self._run()
        self._carry()
        self.synthesise(out)

    def infer(self) -> None:
        """Model: the one-frame step, and its states carried on."""
        self._run()
        self._carry()

    def reset(self) -> None:
        """Forget samples and states."""
        self._path.reset()
        self.cache.reset()

    def describe(self) -> dict[str, Any]:
        """What runs: the step's engine and runtime, and the STFT."""
        return {**self._step.describe(), **self._path.describe()}
