"""Writing a file whole or not at all."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_se.errors import UserError


def require_writable(path: Path) -> None:
    """Raise UserError where no file of that name can be written."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} to write {path.name} into; create it")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of a file to write")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"the folder {path.parent} can't be written to; choose another one")


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, which replaces `path` when the block succeeds.

    The temporary file keeps the suffix of `path` and is removed when the block fails.

    Raises:
        UserError: The folder does not exist or can't be written to.
    """
    require_writable(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (the atomic rename, by its well-known name)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder and those it lies in, if they are missing.

    Raises:
        UserError: It can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {path} can't be made ({error.strerror}); choose another one"
        ) from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and machines, whole or not at all; `-` is standard output."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
