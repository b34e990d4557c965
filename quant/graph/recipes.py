r"""Recipes: which operator computes at which precision, and how ranges and levels go with it.

A recipe is data, in a file that a user can write (docs/reference/recipes.md) and in the manifest of
the model made by it:

    name = "int8_float_ends"
    default = "int8"

    [[overrides]]
    pattern = '^(features$|merge\.|encoder\.[01]\.|decoder\.[34]\.|split\.)'
    precision = "float"
"""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se import strict_json
from edge_se.errors import UserError, reason
from edge_se.files import read_text
from quant.graph.encoding import Precision
from quant.graph.graph import Operator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Speech as networks hear it in training; see `edge_se.level`.
USUAL_LEVEL_DBFS = -25.0
# How ranges are chosen; `quant.ptq.ranges` has a function for each.
RANGE_METHODS = ("percentile", "min-max", "mse")


@dataclass(frozen=True)
class Override:
    """Operators whose scope matches `pattern` compute at another precision."""

    pattern: str
    precision: Precision


@dataclass(frozen=True)
class Recipe:
    """Precision of every operator: the first matching override, else the default.

    Attributes:
        name: what the manifest calls the precision.
        default: of operators that no override names.
        overrides: the first whose pattern is found in an operator's scope counts.
        ranges: how ranges are chosen, one of `RANGE_METHODS`.
        level_dbfs: level that the front end brings input nearer to; None for no front end.
    """

    name: str
    default: Precision
    overrides: tuple[Override, ...] = ()
    ranges: str = "percentile"
    level_dbfs: float | None = None

    @property
    def is_int16(self) -> bool:
        """Whether all of the network is in 16 bits, with weights of 8."""
        return self.default is Precision.INT16 and not self.overrides

    @property
    def is_int8(self) -> bool:
        """Whether all of the network is in 8 bits."""
        return self.default is Precision.INT8 and not self.overrides

    @property
    def splits(self) -> bool:
        """Whether the step is described as 8 bits hold it better."""
        return self.default is Precision.INT8 and self.signals is Precision.INT8

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

    def unmatched(self, names: Iterable[str]) -> Override | None:
        """The first override whose pattern is found in none of the names; None if all are."""
        known = list(names)
        return next(
            (o for o in self.overrides if not any(re.search(o.pattern, n) for n in known)), None
        )

    @property
    def needs_ranges(self) -> bool:
        """Some of its activations are below float precision."""
        precisions = {self.default, *(override.precision for override in self.overrides)}
        return bool(precisions & {Precision.INT8, Precision.INT16})

    @property
    def is_float(self) -> bool:
        """Nothing has to be calibrated, nor does it lose anything by default."""
        return self.default is Precision.FLOAT and not self.needs_ranges

    @property
    def is_static(self) -> bool:
        """Whether it rounds activations, which is what recovery of weights is for."""
        return self.needs_ranges and self.default is not Precision.DYNAMIC

    def describe(self) -> dict[str, Any]:
        """The recipe as plain data, for a manifest; `read_recipe` reads the same as TOML."""
        return {
            "name": self.name,
            "default": self.default.value,
            "ranges": self.ranges,
            "level_dbfs": self.level_dbfs,
            "overrides": [
                {"pattern": override.pattern, "precision": override.precision.value}
                for override in self.overrides
            ],
        }


# What every network can be made in; a network's record may add some of its own.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("float", Precision.FLOAT, level_dbfs=USUAL_LEVEL_DBFS),
        Recipe("dynamic", Precision.DYNAMIC, level_dbfs=USUAL_LEVEL_DBFS),
        Recipe("int8", Precision.INT8, level_dbfs=USUAL_LEVEL_DBFS),
        # 16 bits have room for the extremes.
        Recipe("int16x8", Precision.INT16, ranges="min-max", level_dbfs=USUAL_LEVEL_DBFS),
    )
}


def find_recipe(name: str, own: Iterable[Recipe] = ()) -> Recipe:
    """The recipe called `name`, of the common ones or a network's own.

    Raises:
        UserError: there is none.
    """
    recipes = RECIPES | {recipe.name: recipe for recipe in own}
    if name not in recipes:
        raise UserError(
            f"unknown precision {name!r}; choose one of: {', '.join(recipes)}, or give a recipe "
            "file that ends in .toml"
        )
    return recipes[name]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        UserError: the file is missing, is no TOML, or says something that a recipe can't.
    """
    try:
        content = tomllib.loads(read_text(path))
    except OSError as error:
        raise UserError(f"cannot read recipe {path}: {reason(error)}; check the path") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or nested without end
        raise UserError(f"{path} is not TOML ({error}); see docs/reference/recipes.md") from error
    try:
        strict_json.check(content)
        return _recipe({"name": path.stem, **content})
    except (_InvalidError, ValueError) as error:
        raise UserError(f"{path} is no recipe: {error}; see docs/reference/recipes.md") from None


class _InvalidError(Exception):
    """Something in a recipe is wrong."""


def _recipe(content: Mapping[str, Any]) -> Recipe:
    known = ("name", "default", "ranges", "level_dbfs", "overrides")
    _refuse_unknown("it", content, known)
    name, ranges = content["name"], content.get("ranges", "percentile")
    level = content.get("level_dbfs")
    if not isinstance(name, str) or not name:
        raise _InvalidError(f"its name is {name!r}, not a word")
    if ranges not in RANGE_METHODS:
        raise _InvalidError(f"its ranges are {ranges!r}, not one of {', '.join(RANGE_METHODS)}")
    if level is not None and (isinstance(level, bool) or not isinstance(level, int | float)):
        raise _InvalidError(f"its level_dbfs is {level!r}, not a number")
    overrides = content.get("overrides", [])
    if not isinstance(overrides, list) or not all(isinstance(entry, dict) for entry in overrides):
        raise _InvalidError("its overrides are no [[overrides]] tables")
    return Recipe(
        name,
        _precision("its default", content.get("default")),
        tuple(map(_override, overrides)),
        ranges,
        None if level is None else float(level),
    )


def _override(content: Mapping[str, Any]) -> Override:
    _refuse_unknown("an override", content, ("pattern", "precision"))
    pattern = content.get("pattern")
    if not isinstance(pattern, str):
        raise _InvalidError(f"the pattern of an override is {pattern!r}, not a text")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _InvalidError(f"the pattern {pattern!r} is no regular expression ({error})") from None
    return Override(pattern, _precision(f"the precision of {pattern!r}", content.get("precision")))


def _precision(what: str, value: Any) -> Precision:
    try:
        return Precision(value)
    except ValueError:
        known = ", ".join(precision.value for precision in Precision)
        raise _InvalidError(f"{what} is {value!r}, not one of {known}") from None


def _refuse_unknown(what: str, content: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(content) - set(known))
    if unknown:
        raise _InvalidError(f"{what} has {unknown[0]!r}, which is none of {', '.join(known)}")
