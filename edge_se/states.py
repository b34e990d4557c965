"""The state cache: what a model remembers from one frame to the next, by name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.manifest import StateSpec
from edge_se.quantized import dequantize, limits, quantize


def reset_array(spec: StateSpec) -> NDArray[Any]:
    """The raw content of a state after reset: its reset value, quantized as the state is."""
    value = np.full(spec.shape, spec.reset_value, np.float32)
    if spec.dtype == "float32":
        return value
    return quantize(value, spec.scale, spec.zero_point, spec.dtype)


def _write(targets: Iterable[NDArray[Any]], values: Iterable[NDArray[Any]]) -> None:
    for target, value in zip(targets, values, strict=True):
        target[...] = value


def _raw_bytes(array: NDArray[Any]) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


class StateCache(Mapping[str, NDArray[np.floating[Any]]]):
    """States held in the step's own input buffers.

    `cache["name"]` gives a copy of the state's real values as float32, whatever its dtype; `raw`
    gives the values as stored.
    """

    def __init__(
        self,
        specs: Sequence[StateSpec],
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
    ) -> None:
        """Use `inputs` and `outputs` as they are: contiguous views of the step's tensors.

        Each has the shape and dtype of its state; `outputs` is where the step leaves the new
        states, which `carry` copies to `inputs`.
        """
        self._specs = {spec.name: spec for spec in specs}
        self._inputs = dict(zip(self._specs, inputs, strict=True))
        self._reset_arrays = [reset_array(spec) for spec in specs]
        self._kept = [array.copy() for array in self._reset_arrays]
        # Memoryviews copy raw bytes with a quarter of np.copyto's overhead.
        self._copies = [
            (_raw_bytes(target), _raw_bytes(source))
            for target, source in zip(inputs, outputs, strict=True)
        ]
        self.reset()

    def carry(self) -> None:
        """Make the states that the step has put out its inputs for the next frame."""
        for target, source in self._copies:
            target[:] = source

    def reset(self) -> None:
        """Put every state back to its reset value."""
        _write(self._inputs.values(), self._reset_arrays)

    def keep(self) -> None:
        """Keep every state as it is, for `restore`."""
        _write(self._kept, self._inputs.values())

    def restore(self) -> None:
        """Put every state back to what was kept last."""
        _write(self._inputs.values(), self._kept)

    def raw(self, name: str) -> NDArray[Any]:
        """A copy of a state as stored (integers when quantized)."""
        return self._inputs[name].copy()

    def saturated(self) -> dict[str, int]:
        """How many values of each state sit at an end of their integer range; 0 for float.

        An end that stands for zero does not count: a state of rectified values rests there.
        """
        counts = dict.fromkeys(self._specs, 0)
        for name, spec in self._specs.items():
            if spec.dtype != "float32":
                values = self._inputs[name]
                ends = [end for end in limits(spec.dtype) if end != spec.zero_point]
                counts[name] = sum(int(np.count_nonzero(values == end)) for end in ends)
        return counts

    def __getitem__(self, name: str) -> NDArray[np.floating[Any]]:
        spec, values = self._specs[name], self._inputs[name]
        if spec.dtype == "float32":
            return values.copy()
        return dequantize(values, spec.scale, spec.zero_point)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
