"""The U-shaped GTCRN: the network, its one-frame step, and what the pipeline has to know of it."""

from quant.networks.gtcrn import RANGE_RULES, RECIPES, SCOPES
from quant.networks.gtcrn_unet.model import GTCRNUNet
from quant.networks.gtcrn_unet.step import describe_gtcrn_unet
from quant.networks.network import Network

NETWORK = Network(
    name="gtcrn_unet",
    build=GTCRNUNet,
    describe=describe_gtcrn_unet,
    range_rules=RANGE_RULES,
    scopes=SCOPES,
    recipes=RECIPES,
)
