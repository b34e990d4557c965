"""A board reached by the system's own ssh, with the user's keys and known hosts.

Nothing of ssh's checks is turned off; ports, users, keys and jumps come from the user's ssh
configuration.
"""

import contextlib
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_se.errors import UserError
from targets.board.install import EXIT_REFUSED

_OPTIONS = {
    "BatchMode": "yes",  # no question can be answered in the middle
    "ConnectTimeout": "15",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
}
_EXIT_CONNECTION = 255
_EXIT_NO_COMMAND = 127
_CHUNK = 1 << 18
# What ssh says, and what to do about it.
_REASONS = {
    "Permission denied": "refuses your key; add it with ssh-copy-id {host}",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "has another host key than the known one; find out "
    "why before you change known_hosts",
    "Host key verification failed": "has a host key that is not known yet; connect once with "
    "ssh {host} and check it",
    "Could not resolve hostname": "is not a name that can be resolved; check the name",
    "Connection refused": "does not accept ssh; start its ssh server",
    "timed out": "does not answer; check that it is on and connected",
    "No route to host": "does not answer; check that it is on and connected",
}


class RefusedError(UserError):
    """The board's installer refused; the message is its sentence."""


@dataclass(frozen=True)
class Connection:
    """How to reach a board.

    Attributes:
        host: As ssh takes it, such as pi@raspberrypi.local.
        python: Command of its Python.
        config: Configuration file for ssh, None for the user's own.
    """

    host: str
    python: str = "python3"
    config: Path | None = None

    def installer(self, script: str, *arguments: str) -> dict[str, Any]:
        """Run the installer there, and give what it answers; its progress passes through.

        Args:
            script: Text of install.py.
            arguments: For it.

        Raises:
            RefusedError: The board can't do it.
            UserError: The board can't be reached or has no fitting Python.
        """
        process = self._start([self.python, "-", *arguments])
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None and stdout is not None and stderr is not None, "all are pipes"
        with contextlib.suppress(BrokenPipeError):  # then ssh has ended, and its status says why
            stdin.write(script.encode())
            stdin.close()
        messages = ""
        for line in io.TextIOWrapper(stderr, errors="replace"):
            messages += line
            if line.startswith("  "):
                print(line, end="", file=sys.stderr, flush=True)
        output = stdout.read()
        process.wait()
        if process.returncode == _EXIT_NO_COMMAND:
            raise UserError(
                f"{self.host} has no {self.python}; install it there: sudo apt install python3"
            )
        if "SyntaxError" in messages:
            raise UserError(f"the Python of {self.host} is too old; edge-se needs 3.10 or later")
        if process.returncode not in (0, EXIT_REFUSED):
            self._fail(process.returncode, messages)
        # A login shell may have greeted first.
        answer: dict[str, Any] = json.loads(output[output.find(b"{\n") :])
        if process.returncode == EXIT_REFUSED:
            raise RefusedError(answer["error"])
        return answer

    def append(self, path: str, data: bytes, start: int) -> None:
        """Write `data[start:]` behind the first `start` bytes of a file there.

        Raises:
            UserError: The connection was lost, or the board can't take it.
        """
        folder, target = shlex.quote(str(Path(path).parent)), shlex.quote(path)
        write = ">>" if start else ">"
        process = self._start(["sh", "-c", f"mkdir -p {folder} && exec cat {write} {target}"])
        assert process.stdin is not None, "started with a pipe"
        with contextlib.suppress(BrokenPipeError):  # then ssh has ended, and its status says why
            for offset in range(start, len(data), _CHUNK):
                process.stdin.write(data[offset : offset + _CHUNK])
                self._show(min(offset + _CHUNK, len(data)), len(data))
        _, errors = process.communicate()
        if process.returncode != 0:
            self._fail(process.returncode, errors.decode(errors="replace"))

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        options = [part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")]
        config = ["-F", str(self.config)] if self.config is not None else []
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(
                ["ssh", *config, *options, "--", self.host, shlex.join(command)],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
            )
        except FileNotFoundError:
            raise UserError("deploying needs ssh; install openssh-client") from None

    def _show(self, sent: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if sent == total else ""
            print(f"\r  {sent / 1e6:.1f} of {total / 1e6:.1f} MB", end=end, file=sys.stderr)

    def _fail(self, status: int, messages: str) -> None:
        lines = messages.strip().splitlines() or ["no message"]
        if status == _EXIT_CONNECTION:
            for words, reason in _REASONS.items():
                if words in messages:
                    raise UserError(f"{self.host} {reason.format(host=self.host)}")
            raise UserError(
                f"the connection to {self.host} was lost ({lines[-1].strip()}); run the same "
                "command again, it goes on where it stopped"
            )
        if "No space left on device" in messages:
            raise UserError(f"the disk of {self.host} is full; make room there")
        raise UserError(f"{self.host} failed with status {status} ({lines[-1].strip()})")
