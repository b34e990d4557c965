"""The separators of vocals: two networks, their blocks, their windows as graphs, their records."""

from quant.graph.range_rules import RangeRule
from quant.networks.cascaded.aspp import CascadedASPPNet
from quant.networks.cascaded.aspp_window import describe_cascaded_aspp
from quant.networks.cascaded.lstm import CascadedNet, options_of
from quant.networks.cascaded.lstm_window import describe_cascaded_lstm
from quant.networks.network import Network

RANGE_RULES = (RangeRule(r"", 99.99),)
SCOPES = (r"^(\w+\.\w+)\.", r"^(\w+)")

NETWORKS = (
    Network(
        name="cascaded_aspp",
        build=CascadedASPPNet,
        describe=describe_cascaded_aspp,
        range_rules=RANGE_RULES,
        scopes=SCOPES,
        separates=True,
    ),
    Network(
        name="cascaded_lstm",
        build=CascadedNet,
        describe=describe_cascaded_lstm,
        range_rules=RANGE_RULES,
        scopes=SCOPES,
        options=options_of,
        separates=True,
    ),
)
