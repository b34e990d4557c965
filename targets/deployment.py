"""Deploying: from a model here to a release in use on a board, or to nothing changed there."""

import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se.ending import Ended
from edge_se.errors import UserError
from edge_se.files import make_folder, write_json
from targets.answers import FACTS_SHAPE, REPORT_SHAPE, STATE_SHAPE
from targets.board.installer import errors
from targets.board.installer.facts import check_board
from targets.boards import Board, detect_board
from targets.bundle import Bundle
from targets.cache import state_folder
from targets.remote import Connection, RefusedError


@dataclass(frozen=True)
class Target:
    """A board, and where things lie there.

    Attributes:
        connection: How to reach it.
        root: Folder to install into, as given.
        facts: What the installer's `probe` says.
    """

    connection: Connection
    root: str
    facts: dict[str, Any]

    @property
    def board(self) -> Board:
        """Which board it is; UserError when it is none that can be served."""
        return detect_board(self.facts["machine"], self.facts["bits"], self.facts["model"])

    @property
    def python(self) -> str:
        """Its Python version, such as "3.11"."""
        return str(self.facts["python"])


def reach(connection: Connection, root: str) -> Target:
    """Connect to a board and ask what it is and has; nothing changes there.

    Raises:
        UserError: It can't be reached.
    """
    if not root or len(root) > 500:
        raise UserError("--root has to name a folder on the board, such as ~/edge-se")
    return Target(connection, root, _ask(connection, FACTS_SHAPE, "probe", "--root", root))


def _ask(connection: Connection, shape: Any, action: str, *arguments: str) -> dict[str, Any]:
    try:
        return connection.installer(shape, action, *arguments)
    except RefusedError as error:
        raise UserError(f"{connection.host}: {error}") from None


@dataclass(frozen=True)
class Plan:
    """What deploying a bundle to a board would do.

    Attributes:
        target: The board.
        bundle: What to install.
        archive: Its file name on the board.
        arrived: Bytes of it that are there already.
    """

    target: Target
    bundle: Bundle
    archive: str
    arrived: int

    @property
    def in_use(self) -> bool:
        """Whether the board uses this very release already."""
        return self.installed and bool(self.target.facts["current"] == self.bundle.id)

    @property
    def installed(self) -> bool:
        """Whether the release is on the board already and whole, in use or not."""
        releases = self.target.facts["releases"]
        return self.bundle.id in [one["id"] for one in releases if one["damage"] is None]

    @property
    def missing(self) -> int:
        """Bytes that have to be sent."""
        return 0 if self.installed else len(self.bundle.data) - self.arrived

    def describe(self) -> str:
        """For people."""
        facts, target = self.target.facts, self.target
        if self.in_use:
            return f"release {self.bundle.id} is in use on {target.connection.host} already"
        return (
            f"{target.connection.host} ({facts['model'] or target.board.name}, Python "
            f"{target.python}) would get {self.missing / 1e6:.1f} MB and use release "
            f"{self.bundle.id} instead of {facts['current'] or 'none'} in {facts['root']}"
        )


def plan(target: Target, bundle: Bundle) -> Plan:
    """Check that a board can take a bundle, and find out how much of it is there already.

    Raises:
        UserError: The board can't take it.
    """
    archive = f"edge-se-{bundle.id}.tar.gz"
    planned = Plan(target, bundle, archive, _arrived(target.facts, archive, bundle.data))
    if not planned.installed:
        room = planned.missing + len(bundle.data)  # the archive, and what is unpacked from it
        others = [one["bytes"] for name, one in target.facts["incoming"].items() if name != archive]
        facts = {**target.facts, "free_bytes": target.facts["free_bytes"] + sum(others)}
        try:
            check_board(facts, bundle.description, room)
        except errors.RefusedError as error:
            raise UserError(f"{target.connection.host}: {error}") from None
    return planned


def _arrived(facts: dict[str, Any], archive: str, data: bytes) -> int:
    there = facts["incoming"].get(archive)
    if there is None or there["sha256"] != hashlib.sha256(data[: there["bytes"]]).hexdigest():
        return 0
    return int(there["bytes"])


def deploy(
    planned: Plan, max_rtf: float, service: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Carry out a plan; the release in use before stays until the new one has proved itself.

    Args:
        planned: From `plan`.
        max_rtf: Highest real-time factor to accept there.
        service: Whether to enable the live stream as a service.
        say: Is told what happens.

    Returns:
        The report, which is also kept in the user's state folder.

    Raises:
        UserError: Something failed; the message says what, and what is in use now.
    """
    target, bundle = planned.target, planned.bundle
    connection, data = target.connection, b""
    if planned.installed:
        say(f"testing release {bundle.id}, which is installed there")
        arguments = ["use", "--release", bundle.id]
    else:
        data = bundle.data[planned.arrived :]
        say(f"sending {len(data) / 1e6:.1f} MB to {connection.host} to install {bundle.id}")
        arguments = ["install", "--archive", planned.archive]
        arguments += ["--arrived", str(planned.arrived), "--bytes", str(len(bundle.data))]
    arguments += ["--root", target.root, "--max-rtf", f"{max_rtf:g}"]
    if service:
        arguments.append("--service")
    current = target.facts["current"]
    stays = f"release {current} stays in use" if current else "nothing is in use there"
    try:
        answer = connection.installer(REPORT_SHAPE, *arguments, data=data)
    except RefusedError as error:
        raise UserError(f"{connection.host}: {error}; {stays}") from None
    except Ended:
        say(f"interrupted; what {connection.host} has begun it ends by itself: see --list")
        raise
    if answer["release"]["id"] != bundle.id:
        raise UserError(f"{connection.host} answers for another release than {bundle.id}")
    return keep_report(target, answer)


def keep_report(target: Target, answer: dict[str, Any]) -> dict[str, Any]:
    """Add what the host knows to an installer's answer, and keep it; see `report_path`."""
    report = {
        "host": target.connection.host,
        "board": target.board.key,
        "root": target.facts["root"],
        "deployed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **answer,
    }
    write_json(report_path(target, answer["release"]["id"]), report)
    return report


def report_path(target: Target, release: str) -> Path:
    """Where the report of a release on a board is kept."""
    name = re.sub(r"[^\w.@-]", "_", target.connection.host)
    folder = state_folder("deployments") / name
    make_folder(folder)
    return folder / f"{release}.json"


def roll_back(target: Target) -> dict[str, Any]:
    """Switch a board back to the release before; return what is installed.

    Raises:
        UserError: There is none.
    """
    return _ask(target.connection, STATE_SHAPE, "rollback", "--root", target.root)


def say(text: str) -> None:
    """Progress for people, on standard error."""
    print(text, file=sys.stderr, flush=True)
