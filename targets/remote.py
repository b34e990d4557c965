"""A board reached by the system's own ssh, with the user's keys and known hosts.

Nothing of ssh's checks is turned off; ports, users, keys and jumps come from the user's ssh
configuration.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from edge_se.errors import UserError, reason
from targets.answers import ERROR_SHAPE, LIMIT, printable, read_answer
from targets.application import application
from targets.board.installer.errors import EXIT_REFUSED

_OPTIONS = {
    "BatchMode": "yes",  # no question can be answered in the middle
    "RequestTTY": "no",  # it would change bytes
    "ConnectTimeout": "15",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
}
_EXIT_CONNECTION = 255
_EXIT_NO_COMMAND = 127
_CHUNK = 1 << 18
# Runs a zip application of so many bytes, which may go on reading what follows it. It lies in
# memory, in a file without a name: a full disk does not matter, and nothing is ever left. On one
# line, as not every login shell takes more, and for every Python, so that the application refuses.
_START = (
    "import runpy, sys, tempfile; file = tempfile.TemporaryFile(dir='/dev/shm'); "
    "file.write(getattr(sys.stdin, 'buffer', sys.stdin).read({})); file.flush(); "
    "runpy.run_path('/proc/self/fd/%d' % file.fileno(), run_name='__main__')"
)
# What ssh takes: user@name, name, or ssh://user@name:port; nothing that a shell would act on.
_HOST = re.compile(
    r"(ssh://)?([^\s@'\"`$\\;&<>|(){}*?!#/-][^\s@'\"`$\\;&<>|(){}*?!#/]*@)?"
    r"[\w\[:][\w.:%+\[\]-]*\Z"
)
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
        patience_s: How long nothing may come from there until it is given up; the installer says
            what it does, and limits what it runs to ten minutes.

    Raises:
        UserError: One of them can't be what it is for.
    """

    host: str
    python: str = "python3"
    config: Path | None = None
    patience_s: float = 900

    def __post_init__(self) -> None:
        if len(self.host) > 255 or not _HOST.match(self.host) or not self.host.isprintable():
            raise UserError(
                f"{printable(self.host[:80])!r} is no host; name it as ssh does, as in "
                "pi@raspberrypi.local"
            )
        if not self.python.isprintable() or not self.python or self.python.startswith("-"):
            raise UserError(
                f"{printable(self.python[:80])!r} is no command; give --python a name or a path"
            )
        if self.config is not None and not self.config.is_file():
            raise UserError(f"there is no ssh configuration {self.config}")

    def installer(self, shape: Any, *arguments: str, data: bytes = b"") -> dict[str, Any]:
        """Run the installer there, and give what it answers; its progress passes through.

        Args:
            shape: What the answer has to look like; see `targets.answers`.
            arguments: For it.
            data: What it reads from standard input.

        Raises:
            RefusedError: The board can't do it.
            UserError: The board can't be reached, has no fitting Python, or answers nonsense.
        """
        code = application()
        process = self._start([self.python, "-c", _START.format(len(code)), *arguments])
        with process:
            talk = _Talk(process, self.patience_s)
            try:
                talk.run(code, data)
            except BaseException:
                talk.kill()
                raise
        messages = talk.messages.decode(errors="replace")
        if talk.ended_by is not None:
            raise UserError(f"{self.host} {talk.ended_by}")
        if process.returncode == _EXIT_NO_COMMAND:
            raise UserError(
                f"{self.host} has no {self.python}; install it there: sudo apt install python3"
            )
        if process.returncode not in (0, EXIT_REFUSED):
            self._fail(process.returncode, messages)
        if process.returncode == EXIT_REFUSED:
            raise RefusedError(read_answer(bytes(talk.output), ERROR_SHAPE, self.host)["error"])
        return read_answer(bytes(talk.output), shape, self.host)

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
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except FileNotFoundError:
            raise UserError("deploying needs ssh; install openssh-client") from None
        except OSError as error:
            raise UserError(f"ssh can't be started ({reason(error)})") from None

    def _fail(self, status: int, messages: str) -> None:
        last = printable((messages.strip().splitlines() or ["no message"])[-1].strip()[:300])
        if status == _EXIT_CONNECTION:
            for words, reason in _REASONS.items():
                if words in messages:
                    raise UserError(f"{self.host} {reason.format(host=self.host)}")
            raise UserError(
                f"the connection to {self.host} was lost ({last}); run the same "
                "command again, it goes on where it stopped"
            )
        if "No space left on device" in messages:
            raise UserError(f"the disk of {self.host} is full; make room there")
        raise UserError(f"{self.host} failed with status {status} ({last})")


@dataclass
class _Talk:
    """What goes to a process and comes from it, in three threads, none of which waits for ever.

    Attributes:
        process: With pipes.
        patience_s: How long nothing may come or go.
        output: Its standard output.
        messages: Its standard error; lines that begin with two spaces are passed on.
        ended_by: Why the process was ended, None where it ended by itself.
    """

    process: "subprocess.Popen[bytes]"
    patience_s: float
    output: bytearray = field(default_factory=bytearray)
    messages: bytearray = field(default_factory=bytearray)
    ended_by: str | None = None
    _active: float = field(default_factory=time.monotonic)

    def run(self, code: bytes, data: bytes) -> None:
        """Send all, and take in all until the process ends."""
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin is not None and stdout is not None and stderr is not None, "all are pipes"
        threads = [
            threading.Thread(target=self._send, args=(stdin, code, data), daemon=True),
            threading.Thread(target=self._collect, args=(stdout, self.output), daemon=True),
            threading.Thread(target=self._pass_on, args=(stderr,), daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
                if time.monotonic() - self._active > self.patience_s:
                    self._end("does not answer any more; check that it is on and connected")
        self.process.wait()

    def _end(self, why: str) -> None:
        self.ended_by = self.ended_by or why
        self._active = time.monotonic()
        self.kill()

    def kill(self) -> None:
        """End ssh and what it has started, such as a ProxyCommand."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _send(self, stdin: IO[bytes], code: bytes, data: bytes) -> None:
        with contextlib.suppress(OSError):  # then ssh has ended, and its status says why
            stdin.write(code)
            for start in range(0, len(data), _CHUNK):
                stdin.write(data[start : start + _CHUNK])
                self._active = time.monotonic()
                _show(min(start + _CHUNK, len(data)), len(data))
        with contextlib.suppress(OSError):
            stdin.close()

    def _read(self, stream: IO[bytes], into: bytearray) -> Iterator[None]:
        while block := stream.read1(1 << 16):  # type: ignore[attr-defined]
            self._active = time.monotonic()
            into += block
            if len(into) > LIMIT:
                self._end("answers more than edge-se's installer ever does")
                return
            yield

    def _collect(self, stream: IO[bytes], into: bytearray) -> None:
        for _ in self._read(stream, into):
            pass

    def _pass_on(self, stream: IO[bytes]) -> None:
        shown = 0
        for _ in self._read(stream, self.messages):
            whole = self.messages.rfind(b"\n") + 1
            for line in self.messages[shown:whole].decode(errors="replace").splitlines():
                if line.startswith("  "):
                    print(printable(line[:300]), file=sys.stderr, flush=True)
            shown = max(shown, whole)


def _show(sent: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if sent == total else ""
        print(f"\r  {sent / 1e6:.1f} of {total / 1e6:.1f} MB", end=end, file=sys.stderr)
