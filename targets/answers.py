"""What boards answer: taken as text of strangers, and checked here before anything uses it."""

import json
import re
from typing import Any

from edge_se.errors import UserError, printable
from targets.board import install

LIMIT = 4_000_000
_DEPTH = 20
_RELEASE_SHAPE = {"id": install.is_id, "damage": install.optional(install.is_text)}
STATE_SHAPE = {
    "current": install.optional(install.is_id),
    "history": [install.is_id],
    "releases": [lambda release: _is_release(release)],
}
FACTS_SHAPE = {
    "machine": install.matches(r"[\w.-]{1,40}"),
    "bits": lambda value: value in (32, 64),
    "model": install.optional(install.is_text),
    "python": install.is_version,
    "has_venv": install.is_flag,
    "numpy": install.optional(install.matches(r"\d{1,3}\.[\w.+-]{1,40}")),
    "free_bytes": install.is_count,
    "leftover_bytes": install.is_count,
    "root": install.is_text,
    "incoming": lambda value: _are_archives(value),
    **STATE_SHAPE,
}
_TEXT, _NUMBER = install.is_text, install.is_number
REPORT_SHAPE = {
    "changed": install.is_flag,
    "release": install.SUMMARY_SHAPE,
    "throttling": lambda value: value is None or _fits(value, {"flags": _TEXT, "set": [_TEXT]}),
    "benchmark": {
        "rtf": _NUMBER,
        "frames": install.is_count,
        "deadline_misses": install.is_count,
        "peak_rss_mb": install.optional(_NUMBER),
        "frame_us": {"p50": _NUMBER, "p95": _NUMBER, "p99": _NUMBER},
        "machine": {
            "cpu": install.optional(_TEXT),
            "python": _TEXT,
            "governor": install.optional(_TEXT),
            "clock_mhz": install.optional(_NUMBER),
            "temperature_c": install.optional(install.is_real),
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
ERROR_SHAPE = {"error": install.is_text}


def read_answer(output: bytes, shape: Any, host: str) -> dict[str, Any]:
    """The JSON object in what an installer put out, all text in it printable.

    Args:
        output: Standard output of its process; a login shell may have greeted before it.
        shape: What the answer has to look like; see `install.check`.
        host: What errors call the board.

    Raises:
        UserError: There is none, or it does not fit.
    """
    start = max((match.start() for match in re.finditer(rb"^\{$", output, re.MULTILINE)), default=0)
    try:
        text = output[start:].decode("utf-8")
        content, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text)
        answer: dict[str, Any] = _printable(content, _DEPTH)
        install.check(answer, shape, "answer")
    except (ValueError, RecursionError):
        raise UserError(
            f"{host} answers something else than edge-se's installer does "
            f"({printable(output[:60].decode(errors='replace')) or 'nothing'}); check what its "
            "login shell and its Python do"
        ) from None
    except install.RefusedError as error:
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
        install.check(value, shape, "answer")
    except install.RefusedError:
        return False
    return True


def _is_release(value: Any) -> bool:
    whole = _fits(value, _RELEASE_SHAPE) and value["damage"] is None
    return _fits(value, install.SUMMARY_SHAPE if whole else _RELEASE_SHAPE)


def _are_archives(value: Any) -> bool:
    shape = {"bytes": install.is_count, "sha256": install.matches("[0-9a-f]{64}")}
    return isinstance(value, dict) and all(
        install.ARCHIVE.match(name) and _fits(entry, shape) for name, entry in value.items()
    )
