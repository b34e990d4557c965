"""Fixtures of the tests of boards: tools of the system, and a board that is this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Path of a tool by name; without it the test is skipped, and fails in CI."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)]

    def find(name: str) -> str:
        found = shutil.which(name, path=os.pathsep.join(folders))
        if found is None:
            reason = f"{name} is not installed on this machine"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return found

    return find


@pytest.fixture
def edge_se(tmp_path) -> Command:
    """Run the command line in an empty folder: `edge_se("boards")`."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "edge_se", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, **options
        )

    return run


@dataclass(frozen=True)
class Loopback:
    """A board that is this machine: an ssh server of the tests' own, with a scratch home.

    Attributes:
        home: What the home folder is after a login.
        config: For ssh; it knows the host by `name`, with the right key.
        name: The host's.
        log: What the server says.
    """

    home: Path
    config: Path
    name: str
    log: Path

    def configured(self, name: str, **settings: str) -> Path:
        """A copy of the configuration in which these settings come first."""
        lines = [f"{key} {value}\n" for key, value in settings.items()]
        path = self.config.with_name(name)
        path.write_text("".join(lines) + self.config.read_text())
        return path


class StartLoopback:
    """Starts ssh servers on free ports, and stops them at the end."""

    def __init__(self, tool: Callable[[str], str]) -> None:
        self._server, self._keygen = tool("sshd"), tool("ssh-keygen")
        self._processes: list[subprocess.Popen] = []

    def __call__(self, folder: Path, name: str = "board") -> Loopback:
        home = folder / "home"
        home.mkdir(parents=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # the server insists when root starts it
        for key in ("host_key", "user_key"):
            command = [self._keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to(sys.base_prefix + "/bin/python3")
        search = f"{folder / 'bin'}:/usr/bin:/bin"
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host_key'}\n"
            f"AuthorizedKeysFile {folder / 'user_key.pub'}\nPidFile none\nStrictModes no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin yes\nSetEnv HOME={home} PATH={search}\n"
            "Subsystem sftp internal-sftp\n"
        )
        host_key = (folder / "host_key.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        (folder / "ssh_config").write_text(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  IdentitiesOnly yes\n"
            f"  IdentityFile {folder / 'user_key'}\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {folder / 'known_hosts'}\n  GlobalKnownHostsFile none\n"
        )
        log = folder / "sshd.log"
        command = [self._server, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)]
        self._processes.append(subprocess.Popen(command))
        _wait_for(port, log)
        return Loopback(home, folder / "ssh_config", name, log)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(timeout=30)


def _wait_for(port: int, log: Path) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the ssh server did not start: {log.read_text() if log.exists() else 'no log'}")


@pytest.fixture(scope="session")
def start_loopback(tool) -> Iterator[StartLoopback]:
    starter = StartLoopback(tool)
    yield starter
    starter.stop()
