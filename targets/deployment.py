"""Deploying: from a model here to a release in use on a board, or to nothing changed there."""

import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se.errors import UserError
from edge_se.files import write_json
from targets.board import install as installer
from targets.boards import Board, detect_board
from targets.bundle import Bundle
from targets.cache import state_folder
from targets.remote import Connection, RefusedError

SCRIPT = Path(installer.__file__).read_text(encoding="utf-8")


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
    return Target(connection, root, _ask(connection, SCRIPT, "probe", "--root", root))


def _ask(connection: Connection, script: str, *arguments: str) -> dict[str, Any]:
    try:
        return connection.installer(script, *arguments)
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
        return bool(self.target.facts["current"] == self.bundle.id)

    @property
    def installed(self) -> bool:
        """Whether the release is on the board already, in use or not."""
        return self.bundle.id in [one["id"] for one in self.target.facts["releases"]]

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
        try:
            installer.check_board(target.facts, bundle.description, room)
        except installer.RefusedError as error:
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
    connection, root = target.connection, target.facts["root"]
    if planned.missing:
        say(f"sending {planned.missing / 1e6:.1f} MB to {connection.host}")
        connection.append(f"{root}/incoming/{planned.archive}", bundle.data, planned.arrived)
    if planned.installed:
        say(f"switching to release {bundle.id}, which is installed there")
        arguments = ["use", "--release", bundle.id]
    else:
        say(f"installing release {bundle.id}")
        arguments = ["install", "--archive", planned.archive]
    arguments += ["--root", root, "--max-rtf", f"{max_rtf:g}"]
    if service:
        arguments.append("--service")
    current = target.facts["current"]
    try:
        answer = connection.installer(bundle.installer, *arguments)
    except RefusedError as error:
        stays = f"release {current} stays in use" if current else "nothing is in use there"
        raise UserError(f"{connection.host}: {error}; {stays}") from None
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
    folder.mkdir(exist_ok=True)
    return folder / f"{release}.json"


def in_use_report(target: Target) -> dict[str, Any]:
    """The report of the release that is in use there, as it was measured when installed."""
    arguments = ("report", "--root", target.root)
    return keep_report(target, _ask(target.connection, SCRIPT, *arguments))


def roll_back(target: Target) -> dict[str, Any]:
    """Switch a board back to the release before; return what is installed.

    Raises:
        UserError: There is none.
    """
    return _ask(target.connection, SCRIPT, "rollback", "--root", target.root)


def say(text: str) -> None:
    """Progress for people, on standard error."""
    print(text, file=sys.stderr, flush=True)
