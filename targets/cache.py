"""Where downloads are kept between runs."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edge_se.files import at_home, make_folder


def cache_folder(name: str) -> Path:
    """A folder for downloads of one kind, in the user's cache; made when it is not there.

    Raises:
        UserError: It can't be made.
    """
    base = os.environ.get("XDG_CACHE_HOME") or at_home(Path("~", ".cache"))
    return _made(Path(base) / "edge-se" / name)


def state_folder(name: str) -> Path:
    """A folder for results to keep, in the user's state folder; made when it is not there.

    Raises:
        UserError: It can't be made.
    """
    base = os.environ.get("XDG_STATE_HOME") or at_home(Path("~", ".local", "state"))
    return _made(Path(base) / "edge-se" / name)


def _made(folder: Path) -> Path:
    make_folder(folder)
    return folder


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """A folder that is made when it is not there, whole or not at all.

    Others who want it meanwhile wait for it, and what an interrupted one left is removed.

    Args:
        path: The folder, in one that exists.
        make: Fills the empty folder that it is given.
    """
    import fcntl  # not at the top: the host's other commands run where there is none

    with (path.parent / f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{path.name}.*.part"):
            shutil.rmtree(left, ignore_errors=True)
        if not path.is_dir():
            temporary = Path(
                tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
            )
            temporary.chmod(0o755)
            try:
                make(temporary)
                os.sync()  # a name must not reach the disk before what it names
                temporary.rename(path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return path
