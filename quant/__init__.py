"""Host pipeline: networks, calibration, quantization, training and evaluation.

`quant.quantize` is loaded on first use, so that `import quant` costs nothing.
"""

import os
from typing import TYPE_CHECKING, Any

# Before torch loads its threads, which else spin while they wait for each other: quantizing beside
# one other busy process then takes more than four times as long on two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from quant.graph.recipes import Recipe
    from quant.quantized import Quantized, quantize

__all__ = ["Quantized", "Recipe", "quantize"]


def __getattr__(name: str) -> Any:
    if name == "Recipe":
        from quant.graph.recipes import Recipe

        return Recipe
    if name in __all__:
        from quant import quantized

        return getattr(quantized, name)
    raise AttributeError(f"module 'quant' has no attribute {name!r}")
