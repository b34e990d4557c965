"""The fixed-point signal path in the compiled core: the same bits as `FixedPath`, much sooner."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import Context, make_level, reset_level
from edge_se.engines.fixed_path import FixedPath
from edge_se.fixed import BINS, HOP, LEAST_LOGARITHM, WINDOW, path_tables
from edge_se.manifest import Manifest
from edge_se.strength import Strength


class CompiledPath(FixedPath):
    """`FixedPath` with its arithmetic done by the core; see `edge_se.engines.loop.SignalPath`."""

    def __init__(
        self, library: Any, manifest: Manifest, features: NDArray[Any], mask: NDArray[Any]
    ) -> None:
        """As `FixedPath`, with a library that `edge_se.core.load_core` gives."""
        super().__init__(manifest, features, mask)
        delay = manifest.lookahead_frames
        self._spectra = np.zeros((delay + 1, 2, BINS), np.int32)
        self._exponents = np.zeros(delay + 1, np.int32)
        self._tail = np.zeros(HOP, np.int32)
        self._samples = np.zeros(WINDOW, np.int16)
        self._newest = self._samples[HOP:]
        self._output = np.zeros(HOP, np.int16)
        # The core reads and writes these where they are: they must live as long as the path.
        self._arrays: dict[str, NDArray[Any]] = {
            **path_tables(manifest.signal),
            "samples": self._samples,
            "output": self._output,
            "spectra": self._spectra,
            "exponents": self._exponents,
            "tail": self._tail,
            "features": features,
            "mask": mask,
        }
        scale, merging, bands = self._feature_scale, {}, manifest.bands
        if bands is not None and self._bands is not None:
            self._arrays |= {
                "band_first": np.array(bands.first, np.int32),
                "band_until": np.cumsum([len(row) for row in bands.weights], dtype=np.int32),
                "band_weight": np.array([w for row in bands.weights for w in row], np.int32),
            }
            merging = {
                "bands": bands.count,
                "bands_alike": bands.alike,
                "bound_exponent": self._bands.bound_exponent,
                "excess_shift": self._bands.excess_shift,
            }
        self._level = None
        if self._normalize is not None:
            self._level = make_level(self._normalize)
        self._context = Context(
            **{name: array.ctypes.data for name, array in self._arrays.items()},
            level=None if self._level is None else ctypes.addressof(self._level),
            delay=delay,
            feature_bytes=features.itemsize,
            feature_multiplier=scale.multiplier,
            feature_exponent=scale.exponent,
            feature_zero_point=scale.zero_point,
            feature_low=scale.limits[0],
            feature_high=scale.limits[1],
            least_logarithm=LEAST_LOGARITHM,
            mask_rows=len(mask),
            mask_bytes=mask.itemsize,
            mask_multiplier=self._mask_scale.multiplier,
            mask_exponent=self._mask_scale.exponent,
            mask_zero_point=self._mask_scale.zero_point,
            mask_unit=self._mask_scale.unit,
            **merging,
        )
        self._address = ctypes.addressof(self._context)
        self._analyse = library.edge_se_fixed_analyse
        self._synthesise = library.edge_se_fixed_synthesise
        self.reset()

    def analyse(self, samples: NDArray[np.int16]) -> None:
        """Analysis: one hop of samples (int16 [256]) to the step's features."""
        self._newest[...] = samples
        self._analyse(self._address)

    def knock(self) -> int:
        """What happens with the newest frame; see `edge_se.level.LevelNormalizer.event`."""
        return 0 if self._level is None else int(self._level.event)

    def synthesise(self, out: NDArray[np.int16]) -> None:
        """Synthesis: the mask applied, and one enhanced hop (int16 [256]) written to `out`."""
        self._synthesise(self._address)
        out[...] = self._output

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on."""
        self._context.least_gain, self._context.dry = strength.least_gain, strength.dry

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        if self._level is not None:
            reset_level(self._level)

    def describe(self) -> dict[str, Any]:
        """What runs, for reports."""
        return {"stft": "fixed (compiled)"}
