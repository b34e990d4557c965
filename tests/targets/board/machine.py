"""A board to test with: boots an emulated one, reaches it by ssh, and pulls its plugs."""

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from targets.cache import cache_folder, made_once
from tests.targets.board import disk

LOGIN_S, SETUP_S, COMMAND_S = 600.0, 3600.0, 300.0


@dataclass(frozen=True)
class Kind:
    """A kind of board.

    Attributes:
        architecture: Debian's name of it.
        emulator: The program and what makes it that board.
        console: The kernel's name of the serial port.
        key: Of the board in `boards.toml`.
    """

    architecture: str
    emulator: tuple[str, ...]
    console: str
    key: str


ARM = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-accel", "tcg,tb-size=256")
PC = ("qemu-system-x86_64", "-M", "q35", "-cpu", "max,-arch-capabilities", "-accel", "kvm", "-accel", "tcg")
KINDS = {
    "arm64": Kind("arm64", ARM, "ttyAMA0", "pi4"),
    # With /dev/kvm it keeps real time, so that times say something.
    "amd64": Kind("amd64", PC, "ttyS0", "x86-64"),
}


def made_disk(kind: Kind) -> Path:
    """The folder with a configured disk, in the user's cache; minutes where it is not there yet."""
    source = hashlib.sha256(Path(disk.__file__).read_bytes()).hexdigest()[:8]
    return made_once(
        cache_folder("board") / f"{disk.RELEASE}-{kind.architecture}-{source}",
        lambda folder: _make(folder, kind),
    )


def _make(folder: Path, kind: Kind) -> None:
    as_root = [] if os.geteuid() == 0 else ["fakeroot"]
    module = ["-m", "tests.targets.board.disk", str(folder), kind.architecture]
    subprocess.run([*as_root, sys.executable, *module], check=True, cwd=Path(__file__).parents[3])
    console = folder / "setup.log"
    command = _emulator(kind, folder, folder / "disk.img", console, "boardinit=/sbin/board-setup")
    subprocess.run(command, check=True, timeout=SETUP_S)
    said = console.read_text(errors="replace")
    assert "setup: done" in said and "setup: failed" not in said, said[-1000:]


def _emulator(kind: Kind, folder: Path, image: Path, console: Path, init: str = "") -> list[str]:
    """The command that boots a disk, without a network."""
    append = f"console={kind.console} rw quiet {init}"
    command = [*kind.emulator, "-smp", "1", "-m", "1024", "-nodefaults", "-display", "none"]
    command += ["-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd")]
    command += ["-append", append, "-serial", f"file:{console}", "-no-reboot"]
    command += ["-drive", f"if=none,id=disk,format=raw,file={image}"]
    return [*command, "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]


class Board:
    """One board, which keeps its disk from boot to boot.

    Attributes:
        kind: Which it is.
        config: For ssh, which knows it as `board`.
    """

    name = "board"

    def __init__(self, kind: Kind, folder: Path) -> None:
        """A fresh one, switched off."""
        self.kind, self._folder, self._made = kind, folder, made_disk(kind)
        self._image = folder / "disk.img"
        copy = ["cp", "--sparse=always", "--reflink=auto"]
        subprocess.run([*copy, str(self._made / "disk.img"), str(self._image)], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        key = folder / "key"
        shutil.copy(self._made / "key", key)
        key.chmod(0o600)
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host {self.name}\n  HostName 127.0.0.1\n  Port {self._port}\n  User pi\n"
            f"  IdentityFile {key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  HostKeyAlias {self.name}\n  UserKnownHostsFile {self._made / 'known_hosts'}\n"
            "  GlobalKnownHostsFile none\n"
        )
        self._process: subprocess.Popen | None = None

    def boot(self) -> None:
        """Switch it on, and wait until somebody can log in and the system has come up."""
        assert self._process is None, "it is on"
        monitor = self._folder / "monitor"
        monitor.unlink(missing_ok=True)
        console = self._folder / "console.log"
        command = _emulator(self.kind, self._made, self._image, console)
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        command += ["-netdev", network, "-device", "virtio-net-pci,netdev=net,id=nic,romfile="]
        command += ["-monitor", f"unix:{monitor},server,nowait"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + LOGIN_S
        while self.try_to("true", 30).returncode:
            assert self._process.poll() is None, console.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, console.read_text(errors="replace")[-2000:]
            time.sleep(2)
        self.try_to("systemctl is-system-running --wait", LOGIN_S)

    def ssh(self, command: str) -> list[str]:
        """What runs a command there."""
        return ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", self.name, command]

    def try_to(self, command: str, timeout_s: float = COMMAND_S) -> subprocess.CompletedProcess:
        """Run a command in a login shell there, whatever comes of it."""
        options = ["-o", "ConnectTimeout=20"]
        ssh = self.ssh(f"export XDG_RUNTIME_DIR=/run/user/$(id -u); {command}")
        return subprocess.run(
            [*ssh[:1], *options, *ssh[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            errors="replace",
        )

    def run(self, command: str, timeout_s: float = COMMAND_S) -> str:
        """What a command there prints; it has to succeed."""
        result = self.try_to(command, timeout_s)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return str(result.stdout)

    def send(self, data: bytes, path: str) -> None:
        """Write a file there."""
        command = self.ssh(f"mkdir -p $(dirname {path}) && cat >{path}")
        subprocess.run(command, input=data, check=True, timeout=COMMAND_S)

    def fetch(self, path: str) -> bytes:
        """Read a file there."""
        command = self.ssh(f"cat {shlex.quote(path)}")
        return subprocess.run(command, capture_output=True, check=True, timeout=COMMAND_S).stdout

    def cut_power(self) -> None:
        """Switch it off at once; what was not on its disk is lost."""
        assert self._process is not None, "it is off"
        self._process.kill()
        self._process.wait()
        self._process = None

    def reboot(self) -> None:
        """Have it go down as it should, and come up again."""
        assert self._process is not None, "it is off"
        self.try_to("sudo systemctl reboot", 60)
        self._process.wait(LOGIN_S)
        self._process = None
        self.boot()

    def connect(self, connected: bool) -> None:
        """Put its network cable in, or pull it out."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._folder / "monitor"))
            monitor.sendall(f"set_link nic {'on' if connected else 'off'}\n".encode())
            time.sleep(1)

    def close(self) -> None:
        """Switch it off for good."""
        if self._process is not None:
            self.cut_power()
