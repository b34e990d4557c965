"""What JSON has to look like. The host checks the answers of boards by the same means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import RefusedError
from .files import TEXT_LIMIT, require_file

TEXT_LENGTH = 1000
RELEASE_ID = re.compile(r"[0-9a-f]{12}\Z")


def check(value: Any, shape: Any, name: str) -> None:
    """Compare JSON with a shape; RefusedError names what does not fit.

    A shape is a dict of the fields that there have to be, a list of the one shape that all entries
    have, or a function that says whether a value will do.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise RefusedError(f"{name} is not as expected")
        for key, part in shape.items():
            if key not in value:
                raise RefusedError(f"{name}.{key} is missing")
            check(value[key], part, f"{name}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise RefusedError(f"{name} is not as expected")
        for index, part in enumerate(value):
            check(part, shape[0], f"{name}[{index}]")
    elif not shape(value):
        raise RefusedError(f"{name} is not as expected")


def is_text(value: Any) -> bool:
    """Whether it is text of a line or two."""
    return isinstance(value, str) and len(value) <= TEXT_LENGTH


def is_real(value: Any) -> bool:
    """Whether it is a number of a size that measurements have."""
    return isinstance(value, (int, float)) and not is_flag(value) and abs(value) < 1e15


def is_number(value: Any) -> bool:
    """Whether it is such a number that is not negative."""
    return is_real(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is a whole number that is not negative."""
    return isinstance(value, int) and is_number(value)


def is_flag(value: Any) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_id(value: Any) -> bool:
    """Whether it is the ID of a release."""
    return isinstance(value, str) and RELEASE_ID.match(value) is not None


def matches(pattern: str) -> Callable[[Any], bool]:
    """Whether it is text of a pattern."""
    return lambda value: is_text(value) and re.match(rf"(?:{pattern})\Z", value) is not None


def optional(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether it is null, or fits."""
    return lambda value: value is None or fits(value)


is_version = matches(r"\d{1,3}\.\d{1,3}")


def parse_json(data: bytes, name: str, shape: Any) -> dict[str, Any]:
    """Read JSON of a shape; RefusedError when it is anything else."""
    if not data.strip(b"\0 \n"):
        raise RefusedError(f"{name} is empty")
    try:
        content: dict[str, Any] = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise RefusedError(f"{name} is damaged") from None
    check(content, shape, name)
    return content


def read_json(path: Path, shape: Any) -> dict[str, Any]:
    """Read a file of JSON; see `parse_json`."""
    require_file(path, TEXT_LIMIT)
    return parse_json(path.read_bytes(), path.name, shape)
