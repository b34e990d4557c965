"""UL-UNAS: the network, its one-frame step, and what the pipeline has to know of it."""

from quant.graph.range_rules import RangeRule
from quant.networks.network import Network
from quant.networks.ul_unas.model import ULUNAS
from quant.networks.ul_unas.step import describe_ul_unas

NETWORK = Network(
    name="ul_unas",
    build=ULUNAS,
    describe=describe_ul_unas,
    # Chosen on mixtures of the calibration speakers: clipping costs more than coarser steps.
    range_rules=(RangeRule(r"", 99.99),),
    scopes=(
        r"\.(attention)\.",
        r"^(\w+\.\d+)\.",
        r"^(\w+\.(?:intra|inter))[._]",
        r"^(\w+)",
    ),
)
