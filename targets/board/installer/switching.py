"""From one release to another, or back to where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cleaning import prune
from .environment import check_speed, smoke_test
from .errors import RefusedError
from .files import remove, sync, write_whole
from .processes import say
from .releases import REPORT, by_last_use, current, history, status, stored_report
from .service import enable_service, restore_service, serve
from .unit import installed_unit

KEPT_HISTORY = 100


def use(root: Path, release: str, max_rtf: float, service: bool) -> dict[str, Any]:
    """Switch to a release that is installed already, if it still works."""
    if release not in by_last_use(root):
        raise RefusedError("that release is not installed there, or is damaged; deploy it again")
    folder = root / "releases" / release
    try:
        smoke_test(folder)
    except RefusedError as error:
        (folder / REPORT).unlink()  # so that it is made anew
        raise RefusedError(
            f"release {release} does not work any more ({error}); deploy it again"
        ) from None
    return finish(root, release, max_rtf, service)


def finish(root: Path, release: str, max_rtf: float, service: bool) -> dict[str, Any]:
    """Switch to a release that works, if it is fast enough."""
    report = stored_report(root / "releases" / release)
    check_speed(report["benchmark"], max_rtf)
    changed = current(root) != release
    if changed or service:
        activate(root, release, service)
        prune(root)
    return {"changed": changed, **report}


def rollback(root: Path) -> dict[str, Any]:
    """Go back to the release that was in use before the current one, and still works."""
    used = history(root) or by_last_use(root)
    for release in by_last_use(root):
        if release == current(root) or release not in used:
            continue
        try:
            smoke_test(root / "releases" / release)
        except RefusedError as error:
            say(f"passing over release {release}, which does not work any more ({error})")
            continue
        activate(root, release, service=False)
        return status(root)
    raise RefusedError("there is no earlier release to go back to")


def activate(root: Path, release: str, service: bool) -> None:
    """Make a release the current one, and go back if the service does not start with it."""
    before, served = current(root), installed_unit()
    switch(root, release)
    try:
        if service or served is not None:
            serve(root)
        if service:
            enable_service()
        written = [*history(root), release][-KEPT_HISTORY:]
        write_whole(root / "history", "".join(f"{one}\n" for one in written))
    except (RefusedError, OSError):
        if before is None:
            (root / "current").unlink()
            sync(root)
        else:
            switch(root, before)
        restore_service(served)
        raise


def switch(root: Path, release: str) -> None:
    """Replace the link by one rename, so that there always is a current release."""
    link = root / ".current"
    remove(link)
    link.symlink_to(Path("releases") / release)
    link.replace(root / "current")
    sync(root)
