"""The front end of a C engine: what it keeps of the level, and by which numbers it follows it.

`edge_se/core/level.h` computes it, as `edge_se.level` does. The numbers are weights: they depend on
the file.
"""

from edge_se.core import LEVEL_PARAMETERS, LEVEL_STATE
from edge_se.level import BEYOND, LARGEST_EXPONENT, LevelNormalizer
from quant.c.engine import Engine
from quant.c.weights import Kind

_LEVEL, _FRACTION = Kind("level", low=-(2**22), high=2**22), Kind("fraction", high=2**16)
_DISTANCE = Kind("distance", low=-BEYOND, high=BEYOND)
_HOPS = Kind("hops", low=1, high=2**15)
_SWITCH = Kind("enabled", high=1)
_KINDS = {
    "target": _LEVEL,
    "silence": _LEVEL,
    "rise": _FRACTION,
    "fall": _FRACTION,
    "first_weight": _HOPS,
    "above_floor": _DISTANCE,
    "largest": Kind("largest", high=max(LARGEST_EXPONENT.values())),
    "limit": _DISTANCE,
    "knock": _DISTANCE,
    "patience": _HOPS,
    "removes_dc": _SWITCH,
}


def add_front_end(engine: Engine) -> str:
    """Give an engine the state of the front end that its signal asks for, begun at each reset.

    Returns:
        Pointer to its `struct level` in C, null where the weights are of a file that has none.
    """
    number = engine.weights.number
    engine.state["level"] = ("int32_t", len(LEVEL_PARAMETERS) + len(LEVEL_STATE))
    present = engine.signal.level_dbfs is not None
    normalizer = LevelNormalizer(engine.signal) if present else None
    values = [
        number(kind, max(kind.low, 0) if normalizer is None else getattr(normalizer, name))
        for name, kind in ((name, _KINDS[name]) for name in LEVEL_PARAMETERS)
    ]
    # Those, and the estimate and the floor, which begin at the target.
    for place, value in enumerate([*values, values[0], values[0]]):
        engine.on_reset.append(f"s->level[{place}] = {value};")
    return f"{number(_SWITCH, int(present))} ? (struct level *)s->level : 0"


def restore_after_knocks(engine: Engine) -> None:
    """Write that the network's states are kept before a knock, and restored after it."""
    event = len(LEVEL_PARAMETERS) + LEVEL_STATE.index("event")
    engine.source.say(f"if (s->level[{event}] == KNOCK_BEGAN) keep_states(s);")
    engine.source.say(f"if (s->level[{event}] == KNOCK_ENDED) restore_states(s);")
