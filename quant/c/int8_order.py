"""Of which inputs a layer's outputs are made, and in which order weights lie for that."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

INPUTS = 4  # of which layers have a multiple
OUTPUTS = 4  # that kernels make at once, of the same inputs
MOST_INPUTS = 128


@dataclass(frozen=True)
class Inputs:
    """What a layer's outputs are made of, as the kernels' struct has it.

    Attributes:
        count: of them, a multiple of `INPUTS`.
        step: from each `INPUTS` of them to those after.
        groups: that outputs take turns with.
        apart: how far inputs of one group are from those of the one before.
        alike: outputs, one after the other, that have the same inputs.
    """

    count: int
    step: int
    groups: int
    apart: int
    alike: int

    def of(self, outputs: int) -> Any:
        """Inputs of each output, [outputs, count]."""
        n = np.arange(self.count)
        begins = np.arange(outputs) // self.alike % self.groups * self.apart
        return begins[:, None] + n // INPUTS * self.step + n % INPUTS

    def order(self, outputs: int) -> Any:
        """Outputs as tables have them, [outputs]: of eight that take turns the even ones first."""
        numbers = np.arange(outputs)
        if self.groups == 1 or self.alike > 1:
            return numbers
        return numbers.reshape(-1, OUTPUTS, 2).transpose(0, 2, 1).ravel()

    def __str__(self) -> str:
        fields = self.count, self.step, self.groups, self.apart, self.alike
        return f"(struct inputs){{{', '.join(map(str, fields))}}}"


def ordered(weight: Any, used: Any) -> tuple[Any, Inputs]:
    """A layer's weights [outputs, inputs] in the kernel's order, and of what its outputs are made.

    That is as few inputs as each four outputs have weights for that are `used` (bool, of the same
    shape).
    """
    outputs, inputs = weight.shape
    padded, rest = (np.pad(each, ((0, 0), (0, inputs + INPUTS))) for each in (weight, used))
    for found in sorted(_ways(outputs, inputs), key=lambda way: way.count):
        own = found.of(outputs)
        others = rest.copy()
        np.put_along_axis(others, own, 0, 1)
        if not others.any():
            break
    if found.count > MOST_INPUTS:
        raise ValueError(f"it has a layer of {found.count} inputs")
    own = np.take_along_axis(padded, own, 1)[found.order(outputs)]
    if outputs % OUTPUTS == 0:
        fours = own.reshape(-1, OUTPUTS, found.count // INPUTS, INPUTS)
        own = fours.transpose(0, 2, 1, 3).reshape(own.shape)
    return own, found


def _ways(outputs: int, inputs: int) -> Iterator[Inputs]:
    """Of what outputs may be made; of all inputs they always may."""
    for apart in range(INPUTS, inputs // 2 + 1):
        groups, count = inputs // apart, -(-apart // INPUTS) * INPUTS
        if inputs % apart or outputs % OUTPUTS:
            continue
        for alike in range(OUTPUTS, outputs // groups + 1, OUTPUTS):
            if outputs % (groups * alike) == 0:
                yield Inputs(count, INPUTS, groups, apart, alike)
        if groups == 2 and outputs % (2 * OUTPUTS) == 0:
            yield Inputs(count, INPUTS, groups, apart, 1)
        if apart > INPUTS and apart % INPUTS == 0 and outputs % apart == 0:
            yield Inputs(groups * INPUTS, apart, apart // INPUTS, INPUTS, OUTPUTS)
    yield Inputs(-(-inputs // INPUTS) * INPUTS, INPUTS, 1, inputs, outputs)


def used_inputs(used: Any) -> Any:
    """Which inputs some output is made of, by fours, of a layer with weights [outputs, inputs]."""
    _, inputs = used.shape
    fours = np.arange(inputs) // INPUTS
    return np.array([used[:, fours == n].any() for n in range(fours[-1] + 1)])[fours]
