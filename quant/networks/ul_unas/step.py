"""One frame of UL-UNAS."""

from edge_se.errors import UserError
from quant.graph.graph import Graph
from quant.networks.ul_unas.model import ULUNAS


def describe_ul_unas(model: ULUNAS, split: bool = False) -> Graph:
    """Describe one frame of a trained UL-UNAS; see `quant.networks.network.Network`."""
    raise UserError("ul_unas can be trained, but its frame is not described yet")
