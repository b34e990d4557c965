#!/usr/bin/env python3
"""Installs an edge-se bundle on the board that it runs on, as a release of its own.

    install.py [install]                     from the folder of an unpacked bundle
    install.py use --release ID              go to a release that is installed
    install.py rollback                      go to the release in use before
    install.py status | report | probe       releases, report of the one in use, facts

It needs the standard library alone, in one file, and runs on Pythons older than edge-se wants, so
that it can say so. A release is switched to, by replacing one link, only after its model has
enhanced a signal there and its benchmark was within the limit:

    ROOT/releases/ID/     env (virtual environment), model.tflite or .so, report.json and more
    ROOT/current          link to the release in use
    ROOT/history          an ID per line, in the order in which releases came into use
    ROOT/incoming/        bundles on their way here

ID begins the SHA-256 of the bundle's list of checksums: the same bundle, the same ID. Standard
output is JSON, progress goes to standard error. After an error the exit status is 3 and the JSON
holds one sentence as `error`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, Iterator, Sequence  # noqa: UP035 (older Pythons have them here only)

UNIT = "edge-se.service"
KEPT_RELEASES = 3
DISK_RESERVE = 20_000_000
EXIT_REFUSED = 3
SMOKE_FRAMES = 125
# Bits of a Raspberry Pi's throttling flags.
THROTTLING = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "clock cap has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}


class RefusedError(Exception):
    """The board can't do what was asked; the message is one sentence."""


def say(text: str) -> None:
    """Tell what happens now."""
    with contextlib.suppress(OSError):  # the connection to whoever listened may be lost
        print(f"  {text}", file=sys.stderr, flush=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def run(command: Sequence[Any], what: str, **options: Any) -> bytes:
    """Run a command and give its output; RefusedError with its last words when it fails."""
    pipe = subprocess.PIPE
    result = subprocess.run([str(part) for part in command], stdout=pipe, stderr=pipe, **options)
    if result.returncode != 0:
        words = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        reason = (words or ["no message"])[-1].replace("edge-se: error: ", "").rstrip(".")
        raise RefusedError(f"{what} failed ({reason})")
    return result.stdout


# What the board is


def probe(root: Path) -> dict[str, Any]:
    """Facts about the board, what is installed there and what has arrived."""
    import importlib.util

    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    arrived = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in (root / "incoming").glob("*.tar.gz")
    }
    return {
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "model": read_text("/proc/device-tree/model"),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "has_venv": importlib.util.find_spec("venv") is not None,
        "numpy": numpy_version(),
        "free_bytes": shutil.disk_usage(str(existing)).free,
        "root": str(root),
        "incoming": arrived,
        **status(root),
    }


def read_text(path: str) -> str | None:
    """Content of a file of the kernel's, None where there is none."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def numpy_version() -> str | None:
    """Version of the numpy that this Python sees, None without one."""
    try:
        import numpy
    except ImportError:
        return None
    return str(numpy.__version__)


def throttling() -> dict[str, Any] | None:
    """What a Raspberry Pi's firmware says about voltage and temperature; None elsewhere."""
    text = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None and shutil.which("vcgencmd"):
        text = run(["vcgencmd", "get_throttled"], "vcgencmd").decode().strip().partition("=")[2]
    if not text:
        return None
    flags = int(text, 16)
    return {"flags": hex(flags), "set": [THROTTLING[bit] for bit in THROTTLING if flags >> bit & 1]}


# Releases


def status(root: Path) -> dict[str, Any]:
    """The release in use, and all complete ones, oldest first."""
    releases = []
    for report in (root / "releases").glob("*/report.json"):  # written last in each
        releases.append({"id": report.parent.name, **json.loads(report.read_text())["release"]})
    current, past = root / "current", root / "history"
    return {
        "current": current.readlink().name if current.is_symlink() else None,
        "releases": sorted(releases, key=lambda release: (release["installed"], release["id"])),
        "history": past.read_text().split() if past.is_file() else [],
    }


def stored_report(root: Path, release: str) -> dict[str, Any]:
    """What was measured when a release was installed."""
    report: dict[str, Any] = json.loads((root / "releases" / release / "report.json").read_text())
    return report


def activate(root: Path, release: str, service: bool) -> None:
    """Make a release the current one, and go back if the service does not start with it."""
    before = status(root)["current"]
    switch(root, release)
    try:
        if service:
            enable_service(root)
        restart_service()
    except RefusedError:
        if before is not None:
            switch(root, before)
            restart_service()
        raise


def switch(root: Path, release: str) -> None:
    """Replace the link by one rename, so that there always is a current release."""
    link = root / ".current"
    if link.is_symlink():
        link.unlink()
    link.symlink_to(Path("releases") / release)
    link.replace(root / "current")
    with (root / "history").open("a") as file:
        file.write(f"{release}\n")


def rollback(root: Path) -> dict[str, Any]:
    """Go back to the release that was in use before the current one."""
    state = status(root)
    complete = {release["id"] for release in state["releases"]}
    earlier = [one for one in state["history"] if one in complete and one != state["current"]]
    if not earlier:
        raise RefusedError("there is no earlier release to go back to")
    activate(root, earlier[-1], service=False)
    return status(root)


def prune(root: Path) -> None:
    """Remove all releases but those that were in use last."""
    state = status(root)
    kept = list(dict.fromkeys(reversed(state["history"])))[:KEPT_RELEASES]
    for release in state["releases"]:
        if release["id"] not in kept:
            say(f"removing release {release['id']}")
            shutil.rmtree(str(root / "releases" / release["id"]))


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other installations on this board out."""
    import fcntl  # not at the top: the host imports this module too, on whatever system

    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("another installation is running there; try again later") from None
        yield


# Installing


def install(root: Path, bundle: Path, max_rtf: float, service: bool) -> dict[str, Any]:
    """Install an unpacked bundle as a release, and switch to it when it has proved itself."""
    release = sha256(bundle / "SHA256SUMS")[:12]
    if release not in [one["id"] for one in status(root)["releases"]]:
        build(root, bundle, root / "releases" / release, max_rtf)
    return use(root, release, max_rtf, service)


def use(root: Path, release: str, max_rtf: float, service: bool) -> dict[str, Any]:
    """Switch to a release that is installed already."""
    report = stored_report(root, release)
    check_speed(report["benchmark"], max_rtf)
    changed = status(root)["current"] != release
    if changed or service:
        activate(root, release, service)
        prune(root)
    return {"changed": changed, **report}


def build(root: Path, bundle: Path, folder: Path, max_rtf: float) -> None:
    """Make a release, all but the switch; what was left behind without a report is made anew."""
    description = json.loads((bundle / "bundle.json").read_text())
    verify(bundle)
    if folder.exists():
        shutil.rmtree(str(folder))
    check_board(probe(root), description)
    folder.mkdir(parents=True)
    try:
        say("making a virtual environment")
        make_environment(bundle, folder / "env", description["system_numpy"])
        model = description["model"]["file"]
        for name in (model, "bundle.json", "install.py"):
            shutil.copyfile(str(bundle / name), str(folder / name))
        unit = (bundle / UNIT).read_text()
        unit = unit.replace("@ROOT@", str(root)).replace("@MODEL@", model)
        (folder / UNIT).write_text(unit)
        say("testing the model")
        smoke_test(folder, folder / model)
        say("measuring the model")
        measured = benchmark(folder, folder / model)
        check_speed(measured, max_rtf)
        summary = {
            "id": folder.name,
            "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": description["model"]["name"],
            "edge_se": description["edge_se"],
            "rtf": measured["rtf"],
        }
        report = {"release": summary, "benchmark": measured, "throttling": throttling()}
        write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
    except BaseException:
        shutil.rmtree(str(folder), ignore_errors=True)
        raise


def verify(bundle: Path) -> None:
    """Compare every file of an unpacked bundle with its checksum."""
    for line in (bundle / "SHA256SUMS").read_text().splitlines():
        expected, _, name = line.partition("  ")
        if not (bundle / name).is_file() or sha256(bundle / name) != expected:
            raise RefusedError(f"{name} of the bundle is damaged; send it again")


def check_board(
    facts: dict[str, Any], description: dict[str, Any], bytes_on_the_way: int = 0
) -> None:
    """Refuse a bundle that was made for another board, and a board that lacks something.

    Both sides call this: the host before it sends anything, with what sending will take.
    """
    platform_, python = description["platform"], description["python"]
    if facts["machine"] not in platform_["machines"] or facts["bits"] != platform_["bits"]:
        raise RefusedError(
            f"the bundle is for {platform_['name']}, but the board is a {facts['machine']} with "
            f"{facts['bits']}-bit Python; make one for it"
        )
    if facts["python"] != python:
        raise RefusedError(
            f"the bundle is for Python {python}, but the board's is {facts['python']}; make one "
            f"with --python {facts['python']}"
        )
    if not facts["has_venv"]:
        raise RefusedError(
            "the board's Python has no venv module; install it: sudo apt install python3-venv"
        )
    numpy = facts["numpy"]
    if description["system_numpy"] and (numpy is None or int(numpy.split(".")[0]) >= 2):
        raise RefusedError(
            f"the board's own numpy has to be of version 1, but is {numpy or 'missing'}; "
            "install it: sudo apt install python3-numpy"
        )
    needed = description["installed_bytes"] + bytes_on_the_way + DISK_RESERVE
    if facts["free_bytes"] < needed:
        raise RefusedError(
            f"the board has {facts['free_bytes'] // 10**6} MB free in {facts['root']}, but the "
            f"release needs {needed // 10**6} MB; make room there"
        )


def make_environment(bundle: Path, environment: Path, system_packages: bool) -> None:
    """A virtual environment with the bundle's wheels, and nothing from the network."""
    options = ["--system-site-packages"] if system_packages else []
    command = [sys.executable, "-m", "venv", "--without-pip", *options, environment]
    run(command, "making a virtual environment")
    wheels = sorted((bundle / "wheels").glob("*.whl"))
    pip = next(wheel for wheel in wheels if wheel.name.startswith("pip-"))
    wheels.remove(pip)
    python = environment / "bin" / "python"
    command = [python, pip / "pip", "install", "--no-index", "--no-deps", "--no-cache-dir"]
    run([*command, "--disable-pip-version-check", *wheels], "installing the wheels")


def smoke_test(folder: Path, model: Path) -> None:
    """Enhance bursts of noise, which only a working runtime and a working model can do."""
    samples, value = bytearray(), 1
    for index in range(256 * SMOKE_FRAMES):
        value = (1103515245 * value + 12345) % 2**31  # the same noise everywhere
        samples += struct.pack("<h", (value >> 16) % 8192 - 4096 if index // 3200 % 2 else 0)
    command = [folder / "env" / "bin" / "edge-se", "stream", "--model", model]
    output = run(command, "the smoke test", input=bytes(samples))
    if len(output) < len(samples) or not any(output):
        raise RefusedError("the smoke test failed (the model puts out nothing)")


def benchmark(folder: Path, model: Path) -> dict[str, Any]:
    """The report of `edge-se benchmark`, here."""
    command = [folder / "env" / "bin" / "edge-se", "benchmark", "--model", model]
    report: dict[str, Any] = json.loads(run([*command, "--json", "-"], "the benchmark"))
    return report


def check_speed(measured: dict[str, Any], max_rtf: float) -> None:
    """Refuse a model that is too slow here."""
    if measured["rtf"] > max_rtf:
        raise RefusedError(
            f"the real-time factor there is {measured['rtf']:.4g}, above the limit of {max_rtf:g}"
        )


def unpack(archive: Path) -> Path:
    """Unpack a bundle that has arrived into a folder beside it."""
    target = archive.with_name("unpacked")
    shutil.rmtree(str(target), ignore_errors=True)
    try:
        with tarfile.open(str(archive)) as file:
            for member in file:
                folders = member.name.split("/")
                if not member.isfile() or folders[0] != "edge-se-bundle" or ".." in folders:
                    raise tarfile.TarError
                file.extract(member, str(target))
    except (tarfile.TarError, EOFError):
        raise RefusedError(f"{archive.name} is no whole edge-se bundle; send it again") from None
    return target / "edge-se-bundle"


# The service


def user_unit() -> Path:
    """Where systemd looks for the user's unit."""
    return Path.home() / ".config" / "systemd" / "user" / UNIT


def enable_service(root: Path) -> None:
    """Have systemd start the live stream of whatever release is current."""
    path = user_unit()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (root / "current" / UNIT).read_text())
    run(["systemctl", "--user", "daemon-reload"], "reloading systemd")
    run(["systemctl", "--user", "enable", UNIT], "enabling the service")


def restart_service() -> None:
    """Have the live stream, where there is one, go on with the release that is current now."""
    if user_unit().is_file():
        say("restarting the service")
        run(["systemctl", "--user", "restart", UNIT], "restarting the service")


# The command line


def act(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked; return what to print."""
    root = Path(arguments.root).expanduser().absolute()
    if arguments.action == "probe":
        return probe(root)
    if arguments.action == "status":
        return status(root)
    if arguments.action == "report":
        current = status(root)["current"]
        if current is None:
            raise RefusedError("no release is in use there")
        return {"changed": False, **stored_report(root, current)}
    with locked(root):
        if arguments.action == "rollback":
            return rollback(root)
        if arguments.action == "use":
            return use(root, arguments.release, arguments.max_rtf, arguments.service)
        if arguments.archive is None:
            here = Path(__file__).resolve().parent
            return install(root, here, arguments.max_rtf, arguments.service)
        archive = root / "incoming" / arguments.archive
        say("unpacking")
        try:
            report = install(root, unpack(archive), arguments.max_rtf, arguments.service)
        finally:
            shutil.rmtree(str(archive.with_name("unpacked")), ignore_errors=True)
        for arrived in archive.parent.glob("*.tar.gz"):  # abandoned ones as well
            arrived.unlink()
        return report


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Install an edge-se bundle on this board.")
    actions = ["install", "use", "rollback", "status", "report", "probe"]
    parser.add_argument("action", choices=actions, nargs="?", default="install")
    parser.add_argument("--root", default="~/edge-se", help="where to install")
    parser.add_argument("--archive", help="a bundle in ROOT/incoming (default: this folder)")
    parser.add_argument("--release", help="ID of the installed release to use")
    parser.add_argument("--max-rtf", type=float, default=0.5, help="highest real-time factor")
    parser.add_argument("--service", action="store_true", help="start the live stream, now and on")
    result: dict[str, Any]
    try:
        result, code = act(parser.parse_args()), 0
    except RefusedError as error:
        result, code = {"error": str(error)}, EXIT_REFUSED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        result, code = {"error": f"{error.strerror or error}{where}"}, EXIT_REFUSED
    print(json.dumps(result, indent=2))
    return code


if __name__ == "__main__":
    sys.exit(main())
