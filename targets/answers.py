"""What boards answer: taken as text of strangers, and checked here before anything uses it."""

import json
import re
from typing import Any

from edge_se.errors import UserError, printable
from targets.board.installer import shapes
from targets.board.installer.arrivals import ARCHIVE
from targets.board.installer.errors import RefusedError
from targets.board.installer.releases import SUMMARY_SHAPE

LIMIT = 4_000_000
_DEPTH = 20
_RELEASE_SHAPE = {"id": shapes.is_id, "damage": shapes.optional(shapes.is_text)}
STATE_SHAPE = {
    "current": shapes.optional(shapes.is_id),
    "history": [shapes.is_id],
    "releases": [lambda release: _is_release(release)],
}
FACTS_SHAPE = {
    "machine": shapes.matches(r"[\w.-]{1,40}"),
    "bits": lambda value: value in (32, 64),
    "model": shapes.optional(shapes.is_text),
    "python": shapes.is_version,
    "has_venv": shapes.is_flag,
    "numpy": shapes.optional(shapes.matches(r"\d{1,3}\.[\w.+-]{1,40}")),
    "free_bytes": shapes.is_count,
    "leftover_bytes": shapes.is_count,
    "root": shapes.is_text,
    "incoming": lambda value: _are_archives(value),
    **STATE_SHAPE,
}
_TEXT, _NUMBER = shapes.is_text, shapes.is_number
REPORT_SHAPE = {
    "changed": shapes.is_flag,
    "release": SUMMARY_SHAPE,
    "throttling": lambda value: value is None or _fits(value, {"flags": _TEXT, "set": [_TEXT]}),
    "benchmark": {
        "rtf": _NUMBER,
        "frames": shapes.is_count,
        "deadline_misses": shapes.is_count,
        "peak_rss_mb": shapes.optional(_NUMBER),
        "frame_us": {"p50": _NUMBER, "p95": _NUMBER, "p99": _NUMBER},
        "machine": {
            "cpu": shapes.optional(_TEXT),
            "python": _TEXT,
            "governor": shapes.optional(_TEXT),
            "clock_mhz": shapes.optional(_NUMBER),
            "temperature_c": shapes.optional(shapes.is_real),
        },
        "model": {
            "architecture": _TEXT,
            "precision": _TEXT,
            "runtime": _TEXT,
            "runtime_version": _TEXT,
            "stft": _TEXT,
        },
    },
}
ERROR_SHAPE = {"error": shapes.is_text}


def read_answer(output: bytes, shape: Any, host: str) -> dict[str, Any]:
    """The JSON object in what an installer put out, all text in it printable.

    Args:
        output: Standard output of its process; a login shell may have greeted before it.
        shape: What the answer has to look like; see `shapes.check`.
        host: What errors call the board.

    Raises:
        UserError: There is none, or it does not fit.
    """
    start = max((match.start() for match in re.finditer(rb"^\{$", output, re.MULTILINE)), default=0)
    try:
        text = output[start:].decode("utf-8")
        content, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text)
        answer: dict[str, Any] = _printable(content, _DEPTH)
        shapes.check(answer, shape, "answer")
    except (ValueError, RecursionError):
        raise UserError(
            f"{host} answers something else than edge-se's installer does "
            f"({printable(output[:60].decode(errors='replace')) or 'nothing'}); check what its "
            "login shell and its Python do"
        ) from None
    except RefusedError as error:
        raise UserError(f"{host} answers what edge-se does not understand ({error})") from None
    return answer


def _printable(value: Any, depth: int) -> Any:
    if depth == 0:
        raise RecursionError
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(entry, depth - 1) for entry in value]
    if isinstance(value, dict):
        return {printable(key): _printable(entry, depth - 1) for key, entry in value.items()}
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _fits(value: Any, shape: Any) -> bool:
    try:
        shapes.check(value, shape, "answer")
    except RefusedError:
        return False
    return True


def _is_release(value: Any) -> bool:
    whole = _fits(value, _RELEASE_SHAPE) and value["damage"] is None
    return _fits(value, SUMMARY_SHAPE if whole else _RELEASE_SHAPE)


def _are_archives(value: Any) -> bool:
    shape = {"bytes": shapes.is_count, "sha256": shapes.matches("[0-9a-f]{64}")}
    return isinstance(value, dict) and all(
        ARCHIVE.match(name) and _fits(entry, shape) for name, entry in value.items()
    )
