"""Where downloads are kept between runs."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder for downloads of one kind, in the user's cache; made when it is not there."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "edge-se" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_folder(name: str) -> Path:
    """A folder for results to keep, in the user's state folder; made when it is not there."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(base) / "edge-se" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `path` when the block succeeds and vanishes otherwise.

    Where another process was faster, its folder stays.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if not path.exists():
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
