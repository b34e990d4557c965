"""The command line."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from .arrivals import ARCHIVE, receive, unpack
from .cleaning import clean, clean_arrivals
from .errors import EXIT_INTERRUPTED, EXIT_REFUSED, RefusedError, shortened
from .facts import probe
from .installing import install
from .lock import locked
from .processes import say
from .releases import current, status, stored_report
from .shapes import TEXT_LENGTH
from .switching import rollback, use


def act(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked; return what to print."""
    root = find_root(arguments.root)
    if not (math.isfinite(arguments.max_rtf) and arguments.max_rtf > 0):
        raise RefusedError("--max-rtf has to be a number above 0")
    if arguments.action == "probe":
        return probe(root)
    if arguments.action == "status":
        return status(root)
    if arguments.action == "report":
        release = current(root)
        if release is None:
            raise RefusedError("no release is in use there")
        return {"changed": False, **stored_report(root / "releases" / release)}
    with locked(root):
        clean(root)
        if arguments.action == "rollback":
            return rollback(root)
        if arguments.action == "use":
            return use(root, arguments.release, arguments.max_rtf, arguments.service)
        clean_arrivals(root, arguments.archive)
        if arguments.archive is None:
            here = Path(sys.argv[0]).resolve().parent
            return install(root, here, arguments.max_rtf, arguments.service)
        return install_archive(root, arguments)


def install_archive(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Receive a bundle by standard input, as far as it has not arrived yet, and install it."""
    expected = ARCHIVE.match(arguments.archive)
    if expected is None:
        raise RefusedError("that is no name of a bundle's archive")
    archive = root / "incoming" / arguments.archive
    if arguments.bytes is not None:
        receive(archive, arguments.arrived, arguments.bytes)
    say("unpacking")
    try:
        bundle = unpack(archive)
        report = install(root, bundle, arguments.max_rtf, arguments.service, expected.group(1))
    finally:
        shutil.rmtree(archive.with_name("unpacked"), ignore_errors=True)
    archive.unlink()
    return report


def find_root(text: str) -> Path:
    """The folder that was asked for."""
    try:
        root = Path(text).expanduser().absolute()
    except RuntimeError:
        raise RefusedError(f"there is no home folder {shortened(text)}") from None
    if not text or root == Path(root.anchor):
        raise RefusedError("the root has to be a folder of its own, such as ~/edge-se")
    return root


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Install an edge-se bundle on this board.")
    actions = ["install", "use", "rollback", "status", "report", "probe"]
    parser.add_argument("action", choices=actions, nargs="?", default="install")
    parser.add_argument("--root", default="~/edge-se", help="where to install")
    parser.add_argument("--archive", help="a bundle in ROOT/incoming (default: this folder)")
    parser.add_argument("--arrived", type=int, default=0, help="bytes of it that are there")
    parser.add_argument("--bytes", type=int, help="its size: the rest is standard input")
    parser.add_argument("--release", help="ID of the installed release to use")
    parser.add_argument("--max-rtf", type=float, default=0.5, help="highest real-time factor")
    parser.add_argument("--service", action="store_true", help="start the live stream, now and on")
    result: dict[str, Any]
    try:
        result, code = act(parser.parse_args()), 0
    except RefusedError as error:
        result, code = {"error": str(error)[:TEXT_LENGTH]}, EXIT_REFUSED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        result, code = {"error": f"{error.strerror or error}{where}"[:TEXT_LENGTH]}, EXIT_REFUSED
    except KeyboardInterrupt:
        result, code = {"error": "interrupted"}, EXIT_INTERRUPTED
    with contextlib.suppress(BrokenPipeError):  # whoever asked is not there any more
        print(json.dumps(result, indent=2), flush=True)
    return code
