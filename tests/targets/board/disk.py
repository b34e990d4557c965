"""The disk of a board: a Debian with systemd, sshd and ALSA. As root, or under fakeroot:

python -m tests.targets.board.disk FOLDER

No code of the board's runs meanwhile: packages are only unpacked, and configured in a first boot
with `boardinit=/sbin/board-setup`, which ends by switching the board off. FOLDER gets `disk.img`,
`vmlinuz`, `initrd`, and the `key` and `known_hosts` to reach it by.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from targets.emulation.system import download_packages

RELEASE, ARCHITECTURE, SIZE = "bookworm", "arm64", "4G"
PACKAGES = [
    "?essential",
    "?priority(required)",
    "apt",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "dbus-user-session",
    "udev",
    "kmod",
    "openssh-server",
    "iproute2",
    "procps",
    "sudo",
    "alsa-utils",
    "python3",
    "python3-venv",
    "busybox-static",
]
# What the kernel is made of, and what would make an initrd on the board: neither is wanted on it.
KERNEL = re.compile(
    r"linux-image-.*|linux-base|initramfs-tools.*|busybox-static|klibc-utils|libklibc|zstd"
)
IN_INITRD = ("virtio_pci", "virtio_blk", "ext4")
MODULES = (
    "kernel/sound",
    "kernel/drivers/virtio",
    "kernel/drivers/block/virtio",
    "kernel/drivers/net/virtio",
    "kernel/drivers/net/net_failover",
    "kernel/drivers/char/hw_random",
    "kernel/drivers/pci",
    "kernel/drivers/usb",
    "kernel/net",
    "kernel/fs",
    "kernel/lib",
    "kernel/crypto",
    "kernel/arch",
)
INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
init=/sbin/init
for word in $($b cat /proc/cmdline); do
    case $word in boardinit=*) init=${word#boardinit=};; esac
done
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -o rw /dev/vda /mnt
$b umount /proc
$b mount --move /dev /mnt/dev
exec $b switch_root /mnt $init
"""
SETUP = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /run
mount -t tmpfs tmp /tmp
configure() { dpkg --configure -a --force-confnew >>/root/configure.log 2>&1; }
configure || configure || { tail -5 /root/configure.log; echo "setup: failed"; }
useradd -m -s /bin/bash -G audio,sudo pi
mkdir -m 700 /home/pi/.ssh
cp /root/key.pub /home/pi/.ssh/authorized_keys
chown -R pi:pi /home/pi/.ssh
systemctl enable systemd-networkd ssh
rm /usr/sbin/policy-rc.d /root/key.pub
sync
mount -o remount,ro /
echo "setup: done"
echo o >/proc/sysrq-trigger
sleep 60
"""
# What the maker of a board's image sets up.
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults,noatime 0 1\n",
    "etc/hostname": "board\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/systemd/network/10-wired.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
    "etc/modules-load.d/board.conf": "virtio_net\n",
    # Its clock runs ahead while it waits for whoever logs in.
    "etc/ssh/sshd_config.d/board.conf": "LoginGraceTime 0\n",
}
SUDOERS = "pi ALL=(ALL) NOPASSWD: ALL\n"


def main(folder: Path) -> None:
    """Make the disk in an empty folder."""
    root, kernel, packages = folder / "root", folder / "kernel", folder / "packages"
    packages.mkdir()
    names = [*PACKAGES, f"linux-image-{ARCHITECTURE}"]
    unpack(download_packages(packages, RELEASE, ARCHITECTURE, names), root, kernel)
    shutil.rmtree(packages)
    version = take_modules(kernel, root)
    shutil.copy(next(kernel.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    make_initrd(folder, kernel, root, version)
    furnish(root, folder)
    (folder / "disk.img").unlink(missing_ok=True)
    output("mke2fs", "-q", "-t", "ext4", "-d", root, folder / "disk.img", SIZE)
    for done in (root, kernel):
        shutil.rmtree(done)


def output(*command: Any, **options: Any) -> str:
    """What a command prints."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    environment = {**os.environ, "LC_ALL": "C", "PATH": path}
    result = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, env=environment, **options
    )
    result.check_returncode()
    return result.stdout.decode(errors="replace")


def unpack(packages: Sequence[Path], root: Path, kernel: Path) -> None:
    """Unpack packages as dpkg does, which finds them to be configured."""
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(Path("usr", name))
    database = root / "var" / "lib" / "dpkg"
    for path in (database / "updates", database / "info", kernel):
        path.mkdir(parents=True)
    known = []
    for package in packages:
        fields = output("dpkg-deb", "--field", package)
        name, architecture = field(fields, "Package"), field(fields, "Architecture")
        into_kernel = KERNEL.fullmatch(name) is not None
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as tar:
            options = ("--keep-directory-symlink", "-C", kernel if into_kernel else root)
            listed = output("tar", "-xvp", *options, stdin=tar.stdout)
        if into_kernel:
            continue
        stem = f"{name}:{architecture}" if "\nMulti-Arch: same\n" in fields else name
        lines = [line.lstrip(".").rstrip("/") or "/." for line in listed.splitlines()]
        (database / "info" / f"{stem}.list").write_text("\n".join(lines) + "\n")
        control = database / "control"
        output("dpkg-deb", "--control", package, control)
        for file in control.iterdir():
            if file.name != "control":
                shutil.copy2(file, database / "info" / f"{stem}.{file.name}")
        shutil.rmtree(control)
        first, rest = fields.split("\n", 1)
        known.append(f"{first}\nStatus: install ok unpacked\n{rest}")
    (database / "status").write_text("\n".join(known))
    (database / "info" / "format").write_text("1\n")
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)


def field(fields: str, name: str) -> str:
    """One of a package's fields."""
    found = re.search(rf"^{name}: (.*)$", fields, re.MULTILINE)
    assert found is not None, f"a package has no {name}"
    return found[1]


def take_modules(kernel: Path, root: Path) -> str:
    """Give the board the modules that it needs; the kernel's version."""
    folder = next(path for path in kernel.glob("**/lib/modules/*") if path.is_dir())
    target = root / "usr" / "lib" / "modules" / folder.name
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and (len(name.parts) == 1 or str(name).startswith(MODULES)):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name)
    output("depmod", "-b", root, folder.name)
    return folder.name


def make_initrd(folder: Path, kernel: Path, root: Path, version: str) -> None:
    """What finds the disk, and hands over to what is on it."""
    ram = folder / "ram"
    for name in ("bin", "dev", "proc", "mnt", "modules"):
        (ram / name).mkdir(parents=True)
    shutil.copy(next(kernel.glob("**/bin/busybox")), ram / "bin" / "busybox")
    modules = list(dict.fromkeys(dependencies(root, version)))
    for module in modules:
        shutil.copy(module, ram / "modules" / module.name)
    (ram / "modules" / "order").write_text("".join(f"{module.name}\n" for module in modules))
    write(ram / "init", INIT, 0o755)
    pack = "find . | cpio -o -H newc --quiet | gzip -1"
    with (folder / "initrd").open("wb") as file:
        subprocess.run(pack, shell=True, check=True, cwd=ram, stdout=file)
    shutil.rmtree(ram)


def dependencies(root: Path, version: str) -> Iterator[Path]:
    """Files of the modules that the initrd loads, in order."""
    for module in IN_INITRD:
        show = ("modprobe", "-d", root, "-S", version, "--show-depends", module)
        for line in output(*show).splitlines():
            kind, path = line.split()[:2]
            if kind == "insmod":
                yield Path(path)


def furnish(root: Path, folder: Path) -> None:
    """Write what the maker of an image sets up, and the keys of the one who tests it."""
    for name in ("key", "host_key"):
        keygen = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", folder / name)
        output(*keygen, stdin=subprocess.DEVNULL)
    host = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"board {host}")
    for path, text in FILES.items():
        write(root / path, text)
    write(root / "etc/ssh/ssh_host_ed25519_key", (folder / "host_key").read_text(), 0o600)
    write(root / "etc/ssh/ssh_host_ed25519_key.pub", host)
    write(root / "root/key.pub", (folder / "key.pub").read_text())
    write(root / "etc/sudoers.d/pi", SUDOERS, 0o440)
    write(root / "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    write(root / "usr/sbin/board-setup", SETUP, 0o755)
    for name in ("proc", "sys", "run", "tmp", "dev", "mnt", "root"):
        (root / name).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
