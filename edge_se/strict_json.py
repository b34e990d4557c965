"""JSON from files that others may have made: read with limits, or refused in words."""

import json
import math
from typing import Any

# Far beyond anything that is written here, and far below what makes a reader of it fail.
DEEPEST, LARGEST_BYTES, LARGEST_INTEGER = 32, 64 * 2**20, 2**63


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is no JSON, nested deeper than `DEEPEST`, larger than `LARGEST_BYTES`, or
            holds a number or a string that can't be kept; the message is what is wrong with it.
    """
    if len(text) > LARGEST_BYTES:
        raise ValueError(f"it is larger than {LARGEST_BYTES >> 20} MiB")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    check(value)
    return value


def check(value: Any, depth: int = 0) -> None:
    """Raise ValueError where a value can't be kept; the message is what is wrong with it."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            check(key, depth)
            check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            check(item, depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("it holds a number that is not finite")
    elif isinstance(value, int):
        if abs(value) >= LARGEST_INTEGER:
            raise ValueError("it holds a number of more than 64 bits")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("it holds text that is not Unicode") from None
