"""What many tests share: random weights, and graphs and model files run frame by frame."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn

from edge_se.engines.loop import Step
from edge_se.quantized import dequantize, quantize
from edge_se.signal import Signal
from quant.graph.encoding import Precision
from quant.graph.execute import Hook, initial_states, run_step
from quant.graph.graph import Graph, Value
from quant.graph.recipes import Override, Recipe
from quant.graph.tflite import WrittenModel
from quant.networks.checkpoint import Checkpoint
from quant.networks.gtcrn import RANGE_RULES, SCOPES
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.network import Network
from quant.networks.ul_unas.model import AffinePReLU
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import CalibratedGraph

Module = TypeVar("Module", bound=nn.Module)

# Calibrates a step as it is, with percentiles.
PLAIN = Recipe("plain", Precision.INT8, (Override("^features$", Precision.FLOAT),))


def checkpoint_of(graph: Graph, signal: Signal = SIGNAL) -> Checkpoint:
    """A checkpoint whose network's step is a graph that was made for a test."""
    network = Network(
        "small",
        build=nn.Identity,
        describe=lambda model, split: graph,
        range_rules=RANGE_RULES,
        scopes=SCOPES,
        signal=lambda model: signal,
    )
    return Checkpoint(nn.Identity(), network, "small", "")


def nothing_calibrated() -> CalibratedGraph:
    """A calibrated graph without operators, for what takes one along and never looks into it."""
    graph = Graph()
    return CalibratedGraph(checkpoint_of(graph), graph, Statistics(), SIGNAL)


def at_every_level(recipe: Recipe) -> Recipe:
    """The recipe of files that hear every level as it is."""
    return replace(recipe, level_dbfs=None)


def randomize(module: Module, seed: int) -> Module:
    """Give a module random weights, slopes and BatchNorm statistics; evaluation mode."""
    random = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, spread: float) -> Tensor:
        return spread * torch.randn(like.shape, generator=random)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                assert part.running_mean is not None and part.running_var is not None
                part.running_mean.copy_(normal(part.running_mean, 0.3))
                part.running_var.copy_(torch.exp(normal(part.running_var, 0.5)))
            if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                part.weight.copy_(1 + normal(part.weight, 0.3))
                part.bias.copy_(normal(part.bias, 0.3))
            elif isinstance(part, nn.PReLU):
                part.weight.copy_(0.3 + normal(part.weight, 0.4))
            elif isinstance(part, AffinePReLU):
                part.affine_weight.copy_(normal(part.affine_weight, 0.5))
                part.affine_bias.copy_(normal(part.affine_bias, 0.3))
                part.slope_weight.copy_(0.3 + normal(part.slope_weight, 0.4))
            elif isinstance(part, nn.GRU | nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                for parameter in part.parameters(recurse=False):
                    if parameter.requires_grad:
                        fan = max(parameter[0].numel(), 1)
                        parameter.copy_(normal(parameter, 0.7 / fan**0.5))
    return module.eval()


def assert_near(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """No element differs by more than the tolerance, however large it is."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@torch.no_grad()
def run_frames(graph: Graph, inputs: Tensor, hook: Hook = lambda value, tensor: tensor) -> Tensor:
    """Run a graph with one input frame by frame: [clips, frames, *shape] to the same of its output.

    States start from zero and are carried.
    """
    states = initial_states(graph, len(inputs))
    outputs = []
    for frame in inputs.unbind(dim=1):
        (output,), states = run_step(graph, {graph.inputs[0].name: frame}, states, hook)
        outputs.append(output)
    return torch.stack(outputs, dim=1)


def run_tflite(
    written: WrittenModel, inputs: Mapping[Value, np.ndarray], outputs: Sequence[Value]
) -> list[np.ndarray]:
    """Run a written graph once on real values, given and returned as float32."""
    interpreter = Interpreter(model_content=written.content, num_threads=1)
    interpreter.allocate_tensors()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for value, real in inputs.items():
        index = written.tensors[value]
        dtype, (scale, zero_point) = details[index]["dtype"], details[index]["quantization"]
        stored = real if dtype is np.float32 else quantize(real, scale, zero_point, dtype)
        interpreter.set_tensor(index, np.ascontiguousarray(stored))
    interpreter.invoke()
    results = []
    for value in outputs:
        index = written.tensors[value]
        raw, (scale, zero_point) = interpreter.get_tensor(index), details[index]["quantization"]
        results.append(raw if raw.dtype == np.float32 else dequantize(raw, scale, zero_point))
    return results


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a model file."""
    path = folder / name
    path.write_bytes(content)
    return path


def masks(step: Step, frames: np.ndarray) -> np.ndarray:
    """Run a model file's step on features [frames, 3, bins], carrying its states.

    Returns:
        Real masks, float32 [frames, 2, bins].
    """
    signals = step.manifest.tensors
    results = []
    step.cache.reset()
    for frame in frames:
        _store(step.features, frame, signals.features)
        step.run()
        step.cache.carry()
        mask = step.mask.copy()
        if signals.mask.dtype != "float32":
            mask = dequantize(mask, signals.mask.scale, signals.mask.zero_point)
        results.append(mask)
    return np.stack(results)


def _store(target: np.ndarray, real: np.ndarray, spec: Any) -> None:
    if spec.dtype == "float32":
        target[...] = real
    else:
        quantize(real, spec.scale, spec.zero_point, spec.dtype, out=target)


def snr_db(frames: np.ndarray, reference: np.ndarray, estimate: np.ndarray) -> float:
    """How well a mask's enhanced spectra match those of a reference mask, in dB.

    Args:
        frames: features [frames, 3, bins], whose spectra the masks enhance.
        reference: masks [frames, 2, bins].
        estimate: masks [frames, 2, bins].
    """
    spectra = frames[:, 1] + 1j * frames[:, 2]
    expected = spectra * (reference[:, 0] + 1j * reference[:, 1])
    error = expected - spectra * (estimate[:, 0] + 1j * estimate[:, 1])
    return float(10 * np.log10((np.abs(expected) ** 2).sum() / (np.abs(error) ** 2).sum()))
