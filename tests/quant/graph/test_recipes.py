"""Recipes choose the precision of each operator by its scope."""

import json

import pytest

from edge_se.errors import UserError
from quant.graph.encoding import Precision
from quant.graph.graph import Operator, Value
from quant.graph.kinds import KINDS
from quant.graph.recipes import RECIPES, Override, Recipe, find_recipe
from quant.networks.registry import DEFAULT
from tests.helpers.small_graphs import BUILDERS, one_operator


def operator(scope: str, kind: str = "linear") -> Operator:
    return Operator(kind, (), (Value(scope, (1, 4)),))


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("float", Precision.FLOAT),
        ("dynamic", Precision.DYNAMIC),
        ("int8", Precision.INT8),
        ("int16x8", Precision.INT16),
    ],
)
def test_a_plain_recipe_has_one_precision(name, precision):
    assert find_recipe(name, DEFAULT.recipes).choose(operator("encoder.0.convolution")) is precision


def test_the_first_override_that_matches_counts():
    recipe = Recipe(
        "mixed",
        Precision.INT8,
        (Override(r"^encoder\.0\.", Precision.FLOAT), Override(r"^encoder\.", Precision.INT16)),
    )

    scopes = ("encoder.0.convolution", "encoder.1.convolution", "decoder.0.point1")
    chosen = [recipe.choose(operator(scope)) for scope in scopes]
    assert chosen == [Precision.FLOAT, Precision.INT16, Precision.INT8]


@pytest.mark.parametrize("kind", BUILDERS)
def test_dynamic_leaves_operators_float_that_have_no_dynamic_kernel(kind):
    (single,) = one_operator(kind).operators

    expected = Precision.DYNAMIC if KINDS[kind].dynamic else Precision.FLOAT
    assert RECIPES["dynamic"].choose(single) is expected


def test_description_is_plain_data():
    recipe = Recipe("mixed", Precision.INT8, (Override("^merge", Precision.INT16),))

    assert json.loads(json.dumps(recipe.describe())) == {
        "name": "mixed",
        "default": "int8",
        "ranges": "percentile",
        "level_dbfs": None,
        "overrides": [{"pattern": "^merge", "precision": "int16x8"}],
    }


def test_an_unknown_recipe_is_named():
    with pytest.raises(UserError, match=r"unknown precision 'int4'; choose one of: float, "):
        find_recipe("int4", DEFAULT.recipes)
