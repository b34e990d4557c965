"""The official quantizer (litert-quantizer), given ranges from our calibration."""

import re
from collections.abc import Mapping

import numpy as np

from edge_se.errors import UserError
from quant.graph.encoding import Precision
from quant.graph.graph import Range
from quant.graph.recipes import Recipe
from quant.modules.export import quiet
from quant.modules.step_file import parse, text

# Bits of activations of what is static.
_ACTIVATION_BITS = {Precision.INT8: 8, Precision.INT16: 16}
_ALL = ".*"
# Narrower ranges have scales that no kernel holds.
_LEAST_WIDTH = 1e-6


def quantize_frame(content: bytes, recipe: Recipe, ranges: Mapping[str, Range]) -> bytes:
    """Quantize a float TFLite file by a recipe.

    Operators that the quantizer's policy knows no way for stay float.

    Args:
        content: of the float file.
        recipe: precision of operators, by patterns of the names of their results.
        ranges: of all computed tensors and inputs, by name; none for a recipe without.

    Raises:
        UserError: the quantizer can't.
    """
    from litert_quantizer import quantizer

    official = quantizer.Quantizer(content)
    # There the last match counts, here the first.
    parts = [(_ALL, recipe.default)]
    parts += [(override.pattern, override.precision) for override in reversed(recipe.overrides)]
    for pattern, precision in parts:
        _add(official, pattern, precision)
    main, *others = parse(content).subgraphs
    # The bodies of operators, as of a scatter, which nothing calibrates.
    for tensor in (tensor for graph in others for tensor in graph.tensors):
        _add(official, f"^{re.escape(text(tensor.name))}", Precision.FLOAT)
    ranks = {text(tensor.name): len(tensor.shape) for tensor in main.tensors}
    values = {name: _qsv(*bounds, ranks[name]) for name, bounds in ranges.items()} or None
    try:
        with quiet():
            result = official.quantize(
                values, enable_progress_bar=False, enable_progress_report=False
            )
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"litert-quantizer can't quantize this module to {recipe.name} ({reason}); leave the "
            "part that it names float by a recipe file, or take --precision dynamic"
        ) from error
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _add(official: "object", pattern: str, precision: Precision) -> None:
    from litert_quantizer import algorithm_manager, qtyping, quantizer

    assert isinstance(official, quantizer.Quantizer)
    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    if precision is Precision.FLOAT:
        none = algorithm_manager.AlgorithmName.NO_QUANTIZE
        official.update_quantization_recipe(pattern, everything, algorithm_key=none)
    elif precision is Precision.DYNAMIC:
        official.add_dynamic_config(pattern, everything, num_bits=8)
    else:
        bits = _ACTIVATION_BITS[precision]
        official.add_static_config(pattern, everything, activation_num_bits=bits, weight_num_bits=8)


def _qsv(low: float, high: float, rank: int) -> dict[str, np.ndarray]:
    """A range as the quantizer takes a calibration's result: of the tensor's rank."""
    bounds = {"min": low, "max": max(high, low + _LEAST_WIDTH)}
    return {name: np.full((1,) * rank, bound, np.float32) for name, bound in bounds.items()}
