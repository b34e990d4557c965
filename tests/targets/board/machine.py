"""A board to test with: boots an emulated one, reaches it by ssh, and pulls its plugs."""

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from targets.cache import cache_folder, made_once
from tests.targets.board import disk

LOGIN_S, SETUP_S, COMMAND_S = 900.0, 3600.0, 600.0

EMULATOR = "qemu-system-aarch64"
MACHINE = (
    "-M",
    "virt",
    "-cpu",
    "cortex-a72",
    "-accel",
    "tcg,tb-size=256",
    "-smp",
    "1",
    "-m",
    "1024",
)
# Its clock counts instructions, 2 ns each, and while it idles goes on to the next timer at once, so
# that it makes no difference to sound what else the PC does.
OWN_CLOCK = ("-icount", "shift=1,sleep=off")


def made_disk() -> Path:
    """The folder with a configured disk, in the user's cache; minutes where it is not there yet."""
    source = hashlib.sha256(Path(disk.__file__).read_bytes()).hexdigest()[:8]
    name = f"{disk.RELEASE}-{disk.ARCHITECTURE}-{source}"
    return made_once(cache_folder("board") / name, _make)


def _make(folder: Path) -> None:
    as_root = [] if os.geteuid() == 0 else ["fakeroot"]
    module = ["-m", "tests.targets.board.disk", str(folder)]
    subprocess.run([*as_root, sys.executable, *module], check=True, cwd=Path(__file__).parents[3])
    console = folder / "setup.log"
    command = _emulator(folder, folder / "disk.img", console, "boardinit=/sbin/board-setup")
    subprocess.run(command, check=True, timeout=SETUP_S)
    said = console.read_text(errors="replace")
    assert "setup: done" in said and "setup: failed" not in said, said[-1000:]


def _emulator(folder: Path, image: Path, console: Path, init: str = "") -> list[str]:
    """The command that boots a disk, without a network."""
    command = [EMULATOR, *MACHINE, "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd")]
    command += ["-append", f"console=ttyAMA0 rw quiet {init}", "-serial", f"file:{console}"]
    command += ["-drive", f"if=none,id=disk,format=raw,cache=unsafe,file={image}"]
    return [*command, "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]


class Board:
    """One board, which keeps its disk from boot to boot.

    Attributes:
        config: For ssh, which knows it as `board`.
    """

    name = "board"

    def __init__(self, folder: Path) -> None:
        """A fresh one, switched off."""
        self._folder, self._made = folder, made_disk()
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
        command = [*_emulator(self._made, self._image, console), *OWN_CLOCK]
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"
        command += ["-netdev", network, "-device", "virtio-net-pci,netdev=net,id=nic,romfile="]
        command += ["-monitor", f"unix:{monitor},server,nowait"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + LOGIN_S
        while not self.answers():
            assert self._process.poll() is None, console.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, console.read_text(errors="replace")[-2000:]
            time.sleep(2)
        self.try_to("systemctl is-system-running --wait", LOGIN_S)
        self.tell("-- the board is up")

    def recover(self) -> None:
        """Have it on and reachable, whatever was done to it."""
        if self._process is None or not self.answers():
            self.close()
            self.boot()

    def answers(self) -> bool:
        """Whether somebody can log in now."""
        try:  # once its server has answered, a login takes what it takes where the PC is busy
            return self.try_to("true", LOGIN_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def ssh(self, command: str) -> list[str]:
        """What runs a command there."""
        return ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", self.name, command]

    def try_to(self, command: str, timeout_s: float = COMMAND_S) -> subprocess.CompletedProcess:
        """Run a command in a login shell there, whatever comes of it."""
        options = ["-o", "ConnectTimeout=120"]
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
        self.tell(f"board$ {command}\n{result.stdout}{result.stderr}")
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
        return str(result.stdout)

    def tell(self, text: str) -> None:
        """Print what was done, or said about it."""
        print(f"[{time.strftime('%H:%M:%S')}] {text.rstrip()}", flush=True)

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
        self.tell("-- the power is cut")
        self._process.kill()
        self._process.wait()
        self._process = None

    def reboot(self) -> None:
        """Have it go down as it should, and come up again."""
        assert self._process is not None, "it is off"
        self.tell("board$ sudo systemctl reboot")
        self.try_to("sudo systemctl reboot", 60)
        self._process.wait(LOGIN_S)
        self._process = None
        self.boot()

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Have its network cable pulled out, and put in again at the end."""
        self._connect(False)
        try:
            yield
        finally:
            self._connect(True)

    def _connect(self, connected: bool) -> None:
        self.tell(f"-- the network cable is {'put in' if connected else 'pulled out'}")
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self._folder / "monitor"))
            monitor.sendall(f"set_link nic {'on' if connected else 'off'}\n".encode())
            time.sleep(1)

    def close(self) -> None:
        """Switch it off for good."""
        if self._process is not None:
            self.cut_power()
