"""GTCRN: the network, its one-frame step, and what the pipeline has to know of it."""

from quant.graph.encoding import Precision
from quant.graph.range_rules import RangeRule
from quant.graph.recipes import USUAL_LEVEL_DBFS, Override, Recipe
from quant.networks.gtcrn.model import GTCRN, options_of
from quant.networks.gtcrn.step import describe_gtcrn
from quant.networks.network import Network

# Chosen on mixtures of training speakers, three checkpoints.
RANGE_RULES = (
    RangeRule(r"^(features_in_bands$|merge\.|encoder\.0\.)", 99.99),
    RangeRule(r"^decoder\.[34]\.", 99.9),
    RangeRule(r"attention\.(squared|energy)$", 99.97, saturated=True),
    RangeRule(r"attention\.", 99.95, saturated=True),
    RangeRule(r"", 99.95),
)
SCOPES = (
    r"\.(attention)\.",
    r"^(\w+\.\d+)\.",
    r"^(\w+\.(?:intra|inter))[._]",
    r"^(\w+)",
)
# The first two and the last two convolutions, and what is around them.
_ENDS = r"^(features$|merge\.|neighbours\.|encoder\.[01]\.|decoder\.[3-9]\.|split\.)"
_CODERS = r"^(features$|merge\.|neighbours\.|encoder\.|decoder\.|split\.)"
RECIPES = (
    # Both ends do most of the harm: quiet frames live in the lowest steps of the features, and soft
    # masks in those of the last sums.
    Recipe(
        *("int8_float_ends", Precision.INT8, (Override(_ENDS, Precision.FLOAT),)),
        level_dbfs=USUAL_LEVEL_DBFS,
    ),
    # Only the dual-path recurrence in integers.
    Recipe(
        *("int8_float_coders", Precision.INT8, (Override(_CODERS, Precision.FLOAT),)),
        level_dbfs=USUAL_LEVEL_DBFS,
    ),
)

NETWORK = Network(
    name="gtcrn",
    build=GTCRN,
    describe=describe_gtcrn,
    range_rules=RANGE_RULES,
    scopes=SCOPES,
    recipes=RECIPES,
    options=options_of,
)
