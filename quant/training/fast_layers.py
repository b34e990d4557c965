"""Layers that compute what torch's own do, faster in training.

`use_fast_layers` puts them into a network in place; they share the parameters and their names, so
checkpoints stay as they are. What they gain is in `docs/notes/training.md`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeGuard

from torch import nn

from quant.networks.ul_unas import model as ul_unas
from quant.training import layers
from quant.training.cpu import layers as cpu_layers
from quant.training.cpu import maps, recurrence
from quant.training.gpu import layers as gpu_layers


def use_fast_layers(model: nn.Module) -> None:
    """Let those layers of a network that have a faster equal on its device compute as that does."""
    on_gpu = next(model.parameters()).is_cuda
    replace_layers(model, fast_on_gpu if on_gpu else fast_on_cpu)


def replace_layers(model: nn.Module, choose: Callable[[nn.Module], type[nn.Module] | None]) -> None:
    """Change layers, in place, to the classes that `choose` gives; they differ in `forward`."""
    for layer in model.modules():
        chosen = choose(layer)
        if chosen is not None:
            layer.__class__ = chosen


def fast_on_cpu(layer: nn.Module) -> type[nn.Module] | None:
    """The class of the layer's faster equal on a CPU, if there is one."""
    if _is_plain_gru(layer):
        return recurrence.GRU
    if type(layer) is nn.PReLU and layer.num_parameters == 1:
        return cpu_layers.PReLU
    if type(layer) is nn.ConvTranspose2d:
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        if geometry == ((1, 5), (1, 2), (0, 2), (1, 1)) and layer.output_padding == (0, 0):
            return cpu_layers.ConvTranspose2d
        if layer.stride == (1, 1):
            return layers.ConvTranspose2d
    if type(layer) is ul_unas.AffinePReLU:
        return maps.AffinePReLU
    if type(layer) is ul_unas.Attention:
        return maps.Attention
    if _is_plain_batch_norm(layer):
        return maps.BatchNorm2d
    return None


def fast_on_gpu(layer: nn.Module) -> type[nn.Module] | None:
    """The class of the layer's faster equal on a GPU, if there is one."""
    if _is_plain_gru(layer):
        # Triton comes with torch's builds for Linux; elsewhere torch's own layers stay.
        if find_spec("triton") is None:
            return None
        from quant.training.gpu.recurrence import GRU, fits

        return GRU if fits(layer.hidden_size * (1 + layer.bidirectional)) else None
    if _is_plain_batch_norm(layer):
        return layers.BatchNorm2d
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return gpu_layers.Conv2d if 1 < layer.groups < layer.in_channels else None
    if type(layer) is nn.ConvTranspose2d and layer.stride == (1, 1):
        return layers.ConvTranspose2d
    return None


def _is_plain_gru(layer: nn.Module) -> TypeGuard[nn.GRU]:
    return type(layer) is nn.GRU and layer.num_layers == 1 and layer.batch_first and layer.bias


def _is_plain_batch_norm(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.BatchNorm2d
        and layer.affine
        and layer.momentum is not None
        and layer.track_running_stats
    )
