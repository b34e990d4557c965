"""The networks that the pipeline knows, by name. A new one is one line here."""

from edge_se.errors import UserError
from quant.networks import cascaded, gtcrn, gtcrn_light, gtcrn_unet, ul_unas
from quant.networks.network import Network

# The embedded network's is the first.
NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        gtcrn.NETWORK,
        gtcrn_light.NETWORK,
        gtcrn_unet.NETWORK,
        ul_unas.NETWORK,
        *cascaded.NETWORKS,
    )
}
DEFAULT = gtcrn.NETWORK


def register(network: Network) -> None:
    """Make a network known that is not part of this package; it replaces one of its name."""
    NETWORKS[network.name] = network


def find_network(name: str) -> Network:
    """The network of that name.

    Raises:
        UserError: there is none.
    """
    if name not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        raise UserError(f"unknown architecture {name!r}; choose one of: {known}")
    return NETWORKS[name]
