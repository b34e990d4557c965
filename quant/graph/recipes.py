"""Recipes: which operator computes at which precision, as data."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from edge_se.errors import UserError
from quant.graph.encoding import Precision
from quant.graph.graph import Operator

# What is more than 12 dB louder is attenuated where features have 8 bits, which end there.
USUAL_LEVEL_DBFS = -25.0


@dataclass(frozen=True)
class Override:
    """Operators whose scope matches `pattern` compute at another precision."""

    pattern: str
    precision: Precision


@dataclass(frozen=True)
class Recipe:
    """Precision of every operator: the first matching override, else the default."""

    name: str
    default: Precision
    overrides: tuple[Override, ...] = ()

    @property
    def splits(self) -> bool:
        """Whether the step is described as 8 bits hold it better."""
        return self.default is Precision.INT8 and self.signals is Precision.INT8

    @property
    def level_dbfs(self) -> float | None:
        """Level that louder features are brought nearer to; None to leave them."""
        return USUAL_LEVEL_DBFS if self.splits else None

    @property
    def signals(self) -> Precision:
        """Precision of the input signals: that of the override which names them, if one does."""
        found = (o.precision for o in self.overrides if re.search(o.pattern, "features"))
        return next(found, self.default)

    def choose(self, operator: Operator) -> Precision:
        """Precision of one operator; what has no 8-bit weights stays float when dynamic."""
        for override in self.overrides:
            if re.search(override.pattern, operator.scope):
                chosen = override.precision
                break
        else:
            chosen = self.default
        if chosen is Precision.DYNAMIC and not operator.rule.dynamic:
            return Precision.FLOAT
        return chosen

    @property
    def needs_ranges(self) -> bool:
        """Some of its activations are below float precision."""
        precisions = {self.default, *(override.precision for override in self.overrides)}
        return bool(precisions & {Precision.INT8, Precision.INT16})

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, for a manifest."""
        content = asdict(self)
        content["default"] = self.default.value
        content["overrides"] = [
            {"pattern": override.pattern, "precision": override.precision.value}
            for override in self.overrides
        ]
        return content


# The first two and the last two convolutions, and what is around them.
_ENDS = r"^(features$|merge\.|neighbours\.|encoder\.[01]\.|decoder\.[3-9]\.|split\.)"
_CODERS = r"^(features$|merge\.|neighbours\.|encoder\.|decoder\.|split\.)"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float", Precision.FLOAT),
        Recipe("dynamic", Precision.DYNAMIC),
        Recipe("int8", Precision.INT8),
        # Both ends of GTCRN do most of the harm: quiet frames live in the lowest steps of the
        # features, and soft masks in those of the last sums.
        Recipe("int8_float_ends", Precision.INT8, (Override(_ENDS, Precision.FLOAT),)),
        # Only the dual-path recurrence in integers.
        Recipe("int8_float_coders", Precision.INT8, (Override(_CODERS, Precision.FLOAT),)),
        Recipe("int16x8", Precision.INT16),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`.

    Raises:
        UserError: there is none.
    """
    if name not in RECIPES:
        raise UserError(f"unknown precision {name!r}; choose one of: {', '.join(RECIPES)}")
    return RECIPES[name]
