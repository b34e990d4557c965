"""What the service's user may: have it run without a login, and before other programs."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil

from .bundle import UNIT
from .errors import RefusedError
from .processes import run, say

# Debian resets what a unit of systemd's would give a user.
PRIORITY_COMMAND = (
    "echo '{user} - rtprio 10' | sudo tee /etc/security/limits.d/edge-se.conf, and reboot"
)


def keep_serving() -> None:
    """Have the user's services run without a login; say what to type where that is not allowed."""
    if shutil.which("loginctl") is None:
        return
    user = getpass.getuser()
    enable = ["loginctl", "enable-linger", user]
    for command in (enable, ["sudo", "-n", *enable]):
        if lingers(user):
            return
        with contextlib.suppress(RefusedError):  # it can't be started, which the next look shows
            run(command, "enabling the service without a login", check=False)
    if not lingers(user):
        say(f"the service ends with your last login; keep it: sudo loginctl enable-linger {user}")


def lingers(user: str) -> bool:
    """Whether a user's services run without a login."""
    command = ["loginctl", "show-user", user, "--property=Linger", "--value"]
    return run(command, "asking loginctl", check=False).strip() == b"yes"


def tell_priority() -> None:
    """Say how the service gets real-time priority, where it has none."""
    question = ["systemctl", "--user", "show", UNIT, "--property=MainPID", "--value"]
    process = run(question, "asking systemd", check=False).strip()
    if not process.isdigit() or not int(process):
        return
    with contextlib.suppress(OSError):  # it has ended meanwhile
        if os.sched_getscheduler(int(process)) == os.SCHED_OTHER:
            command = PRIORITY_COMMAND.format(user=getpass.getuser())
            say(f"the service has no priority over other programs; give it one: {command}")
