"""Samples to features and mask to samples, of engines whose signal path is in integers.

`edge_se/core/fixed_path.h` computes it, as `edge_se.engines.fixed_path.FixedPath` does.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.fixed_path import MaskScale
from edge_se.fixed import BINS, HOP, LEAST_LOGARITHM, TABLE_BITS, WINDOW, path_tables
from edge_se.signal import MASK_ROWS
from edge_se.speech import soft_energy
from quant.c.engine import Engine
from quant.c.front_end import add_front_end, restore_after_knocks

# Largest numbers of the tables that are weights: a network may have been trained with any window.
LARGEST = {"window": 1 << TABLE_BITS, "synthesis": 5 << TABLE_BITS - 2}


def add_path_memory(engine: Engine) -> None:
    """Give the engine what the path keeps, and what it works in."""
    engine.state |= {"samples": ("int16_t", WINDOW), "tail": ("int32_t", HOP)}
    engine.scratch |= {"spectrum": ("int32_t", 2 * BINS), "exponent": ("int32_t", 1)}


def open_path(engine: Engine, fields: Mapping[str, Any]) -> None:
    """Write how samples become features.

    Args:
        engine: whose features and mask lie in `k.features` and `k.mask`.
        fields: of `struct context`, those of this engine's own; what nobody names is zero.
    """
    signal = engine.signal

    def table(name: str, content: NDArray[np.int32]) -> str:
        if name in LARGEST:
            return engine.weights.table(name, content, 0, LARGEST[name])
        return engine.source.table(name, content)

    shared = {name: table(name, content) for name, content in path_tables(signal).items()} | {
        "samples": "s->samples",
        "output": "out",
        "spectra": "k.spectrum",
        "exponents": "&k.exponent",
        "tail": "s->tail",
        "features": "k.features",
        "mask": "k.mask",
        "mask_rows": MASK_ROWS[signal.mask],
        "least_logarithm": LEAST_LOGARITHM,
        "least_gain": "s->least_gain",
        "dry": "s->dry",
        "level": add_front_end(engine),
    }
    listed = ", ".join(f".{name} = {value}" for name, value in (shared | dict(fields)).items())
    engine.source.say(f"struct context context = {{{listed}}};")
    engine.source.call("memcpy", f"s->samples + {HOP}", "in", f"sizeof(int16_t) * {HOP}")
    engine.source.say("fixed_analyse(&context);")
    restore_after_knocks(engine)


def squared_step(scale: MaskScale, finer: int = 0) -> int:
    """Square of a mask's step, in steps of 2**-40; of one that has so many bits more."""
    return round(2.0**40 * math.ldexp(scale.multiplier, scale.exponent - TABLE_BITS - finer) ** 2)


def close_path(engine: Engine, mask: str, square: str | int) -> None:
    """Write how the mask becomes samples, and whether they are speech.

    Args:
        engine: see `open_path`.
        mask: pointer to the mask in 16 bits, without a zero point.
        square: its `squared_step`, in C.
    """
    soft = round(2.0**40 * soft_energy(engine.signal))
    heard = f"{BINS}, k.spectrum, k.exponent"
    engine.source.say(f"s->speech = probability_of_speech({heard}, {mask}, {square}, {soft});")
    engine.source.say("fixed_synthesise(&context);")
