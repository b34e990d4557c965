"""From an unpacked bundle to a release."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from .bundle import CHECKSUMS, DESCRIPTION, DESCRIPTION_SHAPE, read_checksums, release_id, verify
from .environment import benchmark, check_speed, make_environment, smoke_test
from .errors import RefusedError
from .facts import check_board, probe, throttling
from .files import remove, sync, sync_tree, write_whole
from .processes import say
from .releases import REPORT, by_last_use
from .service import without_service
from .shapes import read_json
from .switching import finish, use


def install(
    root: Path, bundle: Path, max_rtf: float, service: bool, expected: str | None = None
) -> dict[str, Any]:
    """Install an unpacked bundle as a release, and switch to it when it has proved itself.

    Another release than the one that was expected, if any was, is refused.
    """
    verify(bundle)
    release = release_id(bundle)
    if expected not in (None, release):
        raise RefusedError("the bundle is another one than its name says")
    if release in by_last_use(root):
        return use(root, release, max_rtf, service)
    build(root, bundle, root / "releases" / release, max_rtf)
    return finish(root, release, max_rtf, service)


def build(root: Path, bundle: Path, folder: Path, max_rtf: float) -> None:
    """Make a release of a verified bundle, all but the switch.

    A damaged one in its place is moved aside, and comes back if this fails: it may be in use.
    """
    description = read_json(bundle / DESCRIPTION, DESCRIPTION_SHAPE)
    check_board(probe(root), description)
    aside = folder.with_name(f".{folder.name}")
    if os.path.lexists(folder):
        folder.rename(aside)
    folder.mkdir(parents=True)
    try:
        say("making a virtual environment")
        make_environment(bundle, folder / "env", description["system_numpy"])
        for name in (CHECKSUMS, *read_checksums(bundle)):
            if "/" not in name:
                shutil.copyfile(bundle / name, folder / name)
        with without_service():
            say("testing the model")
            smoke_test(folder)
            say("measuring the model")
            measured = benchmark(folder)
        check_speed(measured, max_rtf)
        summary = {
            "id": folder.name,
            "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": description["model"]["name"],
            "edge_se": description["edge_se"],
            "rtf": measured["rtf"],
        }
        report = {"release": summary, "benchmark": measured, "throttling": throttling()}
        say("writing everything to the disk")
        sync_tree(folder)
        write_whole(folder / REPORT, json.dumps(report, indent=2) + "\n")
        for place in (folder.parent, root, root.parent):
            sync(place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.lexists(aside):
            aside.rename(folder)
        raise
    remove(aside)
