"""Layers that compute what torch's own do, faster in training.

`use_fast_layers` puts them into a network in place; they share the parameters and their names, so
checkpoints stay as they are. What they gain is in `docs/notes/training.md`.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quant.networks.ul_unas import model as ul_unas
from quant.training import fast_gates
from quant.training.gpu import layers as gpu_layers


class GRU(nn.GRU):
    """`torch.nn.GRU` of one layer, batch first, zero initial state.

    On small layers nearly all time of `torch.nn.GRU` goes into bookkeeping: about ten operators a
    step, each recorded and replayed by autograd. Here the whole sequence is one autograd function:

    - both directions run side by side, the backward one over the reversed sequence, as one
      recurrence with a block-diagonal weight;
    - clips lie along the last axis, so that each gate of a step is one contiguous block;
    - with the gates known, the gradients of all three gates are the gradient of the new state times
      factors that do not depend on it; these are computed for all steps at once, and four operators
      per step remain.

    On a GPU the recurrence is one kernel each way (`quant.training.gpu.recurrence`).
    """

    def forward(  # type: ignore[override]
        self, input: Tensor, state: None = None
    ) -> tuple[Tensor, None]:
        """Run over sequences [N, L, inputs]; returns outputs [N, L, directions * hidden]."""
        features = input.permute(1, 2, 0)
        gates, weights, biases = [], [], []
        for suffix in ("", "_reverse") if self.bidirectional else ("",):
            input_weight, weight, input_bias, bias = self._parameters_of(suffix)
            direction = features.flip(0) if suffix else features
            part = torch.matmul(input_weight, direction) + input_bias[:, None]
            gates.append(part.unflatten(1, (3, -1)))
            weights.append(weight.unflatten(0, (3, -1)))
            biases.append(bias.unflatten(0, (3, -1)))
        block_diagonal = [torch.block_diag(*(w[gate] for w in weights)) for gate in range(3)]
        states = _recurrence_on(input.device).apply(
            torch.cat(gates, dim=2), torch.stack(block_diagonal), torch.cat(biases, dim=1)
        )
        if self.bidirectional:
            forward, backward = states.chunk(2, dim=1)
            states = torch.cat([forward, backward.flip(0)], dim=1)
        return states.permute(2, 0, 1), None

    def _parameters_of(self, suffix: str) -> list[Tensor]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return [getattr(self, name + suffix) for name in names]


class PReLU(nn.PReLU):
    """`torch.nn.PReLU` with one weight, whose backward pass in torch is not vectorised."""

    def forward(self, input: Tensor) -> Tensor:
        """Return max(x, 0) + weight * min(x, 0) of any shape."""
        return _PReLU.apply(input, self.weight)


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution (1, 5) with stride (1, 2) and padding (0, 2), as a plain convolution.

    Even outputs see three inputs through taps 4, 2, 0, odd ones two through taps 3 and 1; both are
    channels of one convolution and are then interleaved.
    """

    def forward(self, input: Tensor, output_size: None = None) -> Tensor:  # type: ignore[override]
        """Map [N, C, T, F] to [N, C', T, 2 F - 1]."""
        taps = self.weight[:, :, 0].unflatten(0, (self.groups, -1)).transpose(1, 2)
        even, odd = taps[..., [4, 2, 0]], F.pad(taps[..., [3, 1]], (1, 0))
        weight = torch.stack([even, odd], dim=2).flatten(0, 2)[:, :, None]
        bias = None if self.bias is None else self.bias.repeat_interleave(2)
        output = F.conv2d(input, weight, bias, padding=(0, 1), groups=self.groups)
        return output.unflatten(1, (-1, 2)).movedim(2, -1).flatten(-2)[..., :-1]


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
        return GRU
    if type(layer) is nn.PReLU and layer.num_parameters == 1:
        return PReLU
    if type(layer) is nn.ConvTranspose2d:
        geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        if geometry == ((1, 5), (1, 2), (0, 2), (1, 1)) and layer.output_padding == (0, 0):
            return ConvTranspose2d
        if layer.stride == (1, 1):
            return gpu_layers.ConvTranspose2d
    if type(layer) is ul_unas.AffinePReLU:
        return fast_gates.AffinePReLU
    if type(layer) is ul_unas.Attention:
        return fast_gates.Attention
    return None


def fast_on_gpu(layer: nn.Module) -> type[nn.Module] | None:
    """The class of the layer's faster equal on a GPU, if there is one."""
    if _is_plain_gru(layer):
        # Triton comes with torch's builds for Linux; elsewhere torch's own layers stay.
        if find_spec("triton") is None:
            return None
        from quant.training.gpu.recurrence import fits

        return GRU if fits(layer.hidden_size * (1 + layer.bidirectional)) else None
    if type(layer) is nn.BatchNorm2d and layer.affine and layer.momentum is not None:
        return gpu_layers.BatchNorm2d if layer.track_running_stats else None
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return gpu_layers.Conv2d if 1 < layer.groups < layer.in_channels else None
    if type(layer) is nn.ConvTranspose2d and layer.stride == (1, 1):
        return gpu_layers.ConvTranspose2d
    return None


def _is_plain_gru(layer: nn.Module) -> TypeGuard[nn.GRU]:
    return type(layer) is nn.GRU and layer.num_layers == 1 and layer.batch_first and layer.bias


def _recurrence_on(device: torch.device) -> type[torch.autograd.Function]:
    if device.type == "cpu":
        return _Recurrence
    from quant.training.gpu.recurrence import Recurrence

    return Recurrence


class _Recurrence(torch.autograd.Function):
    """The recurrence over L steps of K state values, N clips side by side.

    Inputs: the gates' input parts [L, 3, K, N] (reset, update, new), the state's weight [3, K, K]
    and bias [3, K]. Output: states [L, K, N].
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        length, _, size, clips = gates.shape
        # Slot t of the states is the state before step t: zero at the start.
        states = gates.new_empty(length + 1, size, clips)
        states[0] = 0
        # The new gate's state part is scaled by the reset gate; the biases of the others just add.
        switches = gates[:, :2] + bias[:2, :, None]
        parts = gates.new_empty(length, 3, size, clips)
        news = gates.new_empty(length, size, clips)
        flat_weight = weight.view(3 * size, size)
        new_bias = bias[2, :, None].expand(size, clips).contiguous()
        views = (
            states[:-1],
            states[1:],
            parts.view(length, 3 * size, clips),
            parts[:, :2],
            parts[:, 0],
            parts[:, 1],
            parts[:, 2],
            switches,
            gates[:, 2],
            news,
        )
        for before, after, rows, both, reset, update, state_new, switch, input_new, new in zip(
            *(view.unbind() for view in views), strict=True
        ):
            torch.mm(flat_weight, before, out=rows)
            both.add_(switch).sigmoid_()
            state_new.add_(new_bias)
            torch.addcmul(input_new, reset, state_new, out=new).tanh_()
            torch.lerp(new, before, update, out=after)
        ctx.save_for_backward(states, parts, news, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        states, parts, news, weight = ctx.saved_tensors
        length, size, clips = news.shape
        reset, update, state_new = parts.unbind(1)
        factors = torch.empty_like(parts)
        into_new = (1 - update) * (1 - news.square())
        torch.mul(into_new * state_new, reset * (1 - reset), out=factors[:, 0])
        torch.mul(states[:-1] - news, update * (1 - update), out=factors[:, 1])
        torch.mul(into_new, reset, out=factors[:, 2])
        of_gates = torch.empty_like(parts)  # gradient of the state's part of the gates
        of_states = torch.empty_like(news)
        carried = torch.zeros_like(news[0])
        transposed = weight.view(3 * size, size).t().contiguous()
        rows = of_gates.view(length, 3 * size, clips)
        views = (gradient, factors, of_gates, rows, of_states, update)
        steps = list(zip(*(view.unbind() for view in views), strict=True))
        for given, factor, of_gate, row, of_state, kept in reversed(steps):
            torch.add(carried, given, out=of_state)
            torch.mul(factor, of_state, out=of_gate)
            torch.mul(of_state, kept, out=carried)
            carried.addmm_(transposed, row)
        of_weight = torch.bmm(rows, states[:-1].transpose(1, 2)).sum(0).view(3, size, size)
        of_bias = of_gates.sum((0, 3))
        torch.mul(of_states, into_new, out=of_gates[:, 2])
        return of_gates, of_weight, of_bias


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.leaky_relu(x, weight.item())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_x = torch.ops.aten.leaky_relu_backward(gradient, x, weight.item(), False)
        of_weight = torch.dot(gradient.reshape(-1), x.clamp(max=0).reshape(-1))
        return of_x, of_weight.reshape(1)
