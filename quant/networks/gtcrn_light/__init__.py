"""GTCRN-Light: the network, its one-frame step, and what the pipeline has to know of it."""

from quant.graph.range_rules import RangeRule
from quant.networks.gtcrn import RECIPES, SCOPES
from quant.networks.gtcrn_light.model import GTCRNLight
from quant.networks.gtcrn_light.step import describe_gtcrn_light
from quant.networks.network import Network

NETWORK = Network(
    name="gtcrn_light",
    build=GTCRNLight,
    describe=describe_gtcrn_light,
    range_rules=(RangeRule(r"", 99.98),),
    scopes=SCOPES,
    recipes=RECIPES,
)
