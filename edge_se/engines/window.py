"""A separator's window in a TFLite interpreter: magnitudes in, mask out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.tflite import (
    cannot_run,
    check_tensors,
    create_interpreter,
    delegated_share,
    find_runtime,
)
from edge_se.manifest import TensorSpec, require_chunk
from edge_se.model_file import read_manifest
from edge_se.quantized import dequantize, quantize


class TfliteWindow:
    """One window of a separator.

    Attributes:
        manifest: Of the model.
        chunk: Its frames in and their offset.
    """

    def __init__(self, path: Path, runtime: str | None = None) -> None:
        """Load and check a model.

        Raises:
            UserError: The model is no separator, or model, manifest and runtime don't fit.
        """
        self.manifest = read_manifest(path)
        self.chunk = require_chunk(self.manifest, path)
        self._path, self._runtime = path, find_runtime(runtime)
        self._interpreter = create_interpreter(self._runtime, path)
        check_tensors(self._interpreter, self.manifest, path)

    def run(self, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mask of a window.

        Args:
            magnitude: float32 [frames, bins, 2], the recording's largest being 1.

        Returns:
            float32 [frames - 2 * offset, bins, 2], of the accompaniment.
        """
        features, mask = self.manifest.tensors.features, self.manifest.tensors.mask
        # Recurrent layers keep their states in variables; every window starts from zeros.
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(features.tensor, _stored(magnitude[None], features))
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise cannot_run(self._runtime, self._path, error) from None
        return _real(self._interpreter.get_tensor(mask.tensor)[0], mask)

    def describe(self) -> dict[str, Any]:
        """Engine, runtime and its version, threads, share of operators that XNNPACK took."""
        return {
            "engine": "tflite",
            "runtime": self._runtime.name,
            "runtime_version": self._runtime.version(),
            "threads": 1,
            "xnnpack_share": round(delegated_share(self._interpreter), 4),
        }


def _stored(real: NDArray[np.float32], spec: TensorSpec) -> NDArray[Any]:
    if spec.dtype == "float32":
        return real
    return quantize(real, spec.scale, spec.zero_point, spec.dtype)


def _real(stored: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    if spec.dtype == "float32":
        return stored
    return dequantize(stored, spec.scale, spec.zero_point).astype(np.float32, copy=False)
