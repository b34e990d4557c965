"""The one-frame step in TFLite Micro's interpreter, which is what microcontrollers run.

Here it shows, on any PC, what they compute and whether they can; it copies every tensor in and out,
and is no way to enhance quickly.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines import MICRO
from edge_se.engines.tflite import check_tensors, create_interpreter, find_runtime
from edge_se.errors import UserError
from edge_se.manifest import StateSpec, TensorSpec, require_frames
from edge_se.model_file import read_model, split
from edge_se.states import StateCache

_MODULE, _PACKAGE = "tflite_micro.python.tflite_micro.runtime", "tflite-micro"


class MicroStep:
    """The one-frame step in TFLite Micro; see `edge_se.engines.loop.Step`."""

    def __init__(self, path: Path) -> None:
        """Load and check a model.

        Raises:
            UserError: The model and its manifest don't fit each other, TFLite Micro can't run it,
                or it is not installed.
        """
        data, self.manifest = read_model(path)
        require_frames(self.manifest, path)
        try:
            module = importlib.import_module(_MODULE)
        except ModuleNotFoundError:
            raise UserError(
                f"the TFLite runtime {MICRO} is not installed; pip install --pre {_PACKAGE}"
            ) from None
        # TFLite Micro believes whatever is in a file, so another runtime reads it first.
        reader = create_interpreter(find_runtime(), path, delegate=False)
        check_tensors(reader, self.manifest, path)
        try:
            self._interpreter = module.Interpreter.from_bytes(split(data)[0])
        except RuntimeError as error:
            raise UserError(
                f"{MICRO} can't run {path} ({error}); edge-se inspect names what is in the way"
            ) from None
        self._inputs: list[tuple[NDArray[Any], int]] = []
        self._outputs: list[tuple[NDArray[Any], int]] = []
        at = {int(d["index"]): place for place, d in enumerate(reader.get_input_details())}
        out = {int(d["index"]): place for place, d in enumerate(reader.get_output_details())}
        signals, states = self.manifest.tensors, self.manifest.states
        self.features = _bind(self._inputs, signals.features, at[int(signals.features.tensor)])
        self.mask = _bind(self._outputs, signals.mask, out[int(signals.mask.tensor)])
        self.cache = StateCache(
            states,
            [_bind(self._inputs, state, at[int(state.input)]) for state in states],
            [_bind(self._outputs, state, out[int(state.output)]) for state in states],
        )

    def run(self) -> None:
        """Compute one frame from the inputs' arrays into the outputs'."""
        for array, place in self._inputs:
            self._interpreter.set_input(array, place)
        self._interpreter.invoke()
        for array, place in self._outputs:
            array[...] = self._interpreter.get_output(place)

    def describe(self) -> dict[str, Any]:
        """Engine, runtime and its version, threads."""
        from importlib.metadata import version

        return {
            "engine": "tflite",
            "runtime": MICRO,
            "runtime_version": version(_PACKAGE),
            "threads": 1,
        }


def _bind(
    bound: list[tuple[NDArray[Any], int]], spec: TensorSpec | StateSpec, place: int
) -> NDArray[Any]:
    """An array for the input or output at a place."""
    array = np.zeros(spec.shape, spec.dtype)
    bound.append((array, place))
    return array
