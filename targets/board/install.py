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

ID begins the SHA-256 of the bundle's list of checksums: the same bundle, the same ID. Nothing of a
bundle is parsed before it has been compared with that list. What is written is on the disk before
anything refers to it, so that a power cut leaves the old state or the new one; a release that is
damaged all the same is told as such and never switched to, and the next installation removes it.

Standard output is JSON, progress goes to standard error. After an error the exit status is 3 and
the JSON holds one sentence as `error`.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import gzip
import hashlib
import io
import json
import math
import os
import platform
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path
from typing import (  # noqa: UP035 (older Pythons have them here only)
    IO,
    Any,
    Callable,
    Iterable,
    Iterator,
    Sequence,
    cast,
)

BUNDLE = "edge-se-bundle"
CHECKSUMS, DESCRIPTION, REPORT, UNIT = "SHA256SUMS", "bundle.json", "report.json", "edge-se.service"
RELEASE_ID = re.compile(r"[0-9a-f]{12}\Z")
ARCHIVE = re.compile(r"edge-se-([0-9a-f]{12})\.tar\.gz\Z")
# What a bundle may hold: files beside each other, and wheels in their folder.
BUNDLE_NAME = re.compile(r"(?:wheels/)?[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}\Z")
CHECKSUM = re.compile(r"([0-9a-f]{64})  (.+)\Z")
BUNDLE_LIMIT = 1_000_000_000
TEXT_LIMIT = 1_000_000
TEXT_LENGTH = 1000
KEPT_RELEASES = 3
KEPT_HISTORY = 100
DISK_RESERVE = 20_000_000
EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130
SMOKE_FRAMES = 125
PATIENCE_S = 600
CHECK_S = 60
SILENT_S = 75  # of a sender; its ssh gives a connection up after 60
# Debian resets what a unit of systemd's would give a user.
PRIORITY_COMMAND = (
    "echo '{user} - rtprio 10' | sudo tee /etc/security/limits.d/edge-se.conf, and reboot"
)
SETTINGS_TEXT = """\
# The live stream of edge-se. After a change: systemctl --user restart edge-se
# Devices, as `~/edge-se/current/env/bin/python -m edge_se live --list-devices` names them.
capture = "default"
playback = "default"
# What both are opened with, as 48000 and 2 for many USB microphones under their hw: names.
rate = 16000
channels = 1
format = "s16le"
# The channel to enhance, from 1 on; 0 for the mean of all.
channel = 0
# Who listens, where it is not people; or attenuate nothing by more than so many dB, and mix in a
# share of the input, 0 to 1.
# listener = "recogniser"
# max_attenuation = 12
# mix = 0.1
# A network of your own in place of the deployed one.
# model = "/home/pi/mine.tflite"
"""
TAR_BLOCK = 512
# Settings of the unit that a user's service can only have where user namespaces are allowed.
NEED_USER_NAMESPACES = (
    "PrivateUsers",
    "CapabilityBoundingSet",
    "ProtectClock",
    "ProtectKernelLogs",
    "ProtectKernelModules",
)
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


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk: files first, then their names."""
    for place, _, files in os.walk(str(folder), topdown=False):
        for name in files:
            path = Path(place, name)
            if not path.is_symlink():
                sync(path)
        sync(Path(place))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; it is on the disk afterwards."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def require_file(path: Path, limit: int) -> None:
    """Refuse what is no plain file, which reading could wait for, and what is too large."""
    if not path.exists():
        raise RefusedError(f"{path.name} is missing")
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
        raise RefusedError(f"{path.name} is damaged")


def run(command: Sequence[Any], what: str, check: bool = True, **options: Any) -> bytes:
    """Run a command and give its output; RefusedError with its last words when it fails.

    Without `check`, what it prints is the answer, whatever its status.
    """
    options.setdefault("timeout", PATIENCE_S)
    pipe = subprocess.PIPE
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    try:
        result = subprocess.run(
            [str(part) for part in command], stdout=pipe, stderr=pipe, **options
        )
    except subprocess.TimeoutExpired:
        limit = options["timeout"] / 60
        raise RefusedError(f"{what} took longer than {limit:g} minutes") from None
    except OSError as error:
        raise RefusedError(f"{what} failed ({error.strerror or error})") from None
    if check and result.returncode != 0:
        lines = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        words = [line for line in lines if not line.startswith("See ")]  # systemctl's advice
        reason = (words or ["no message"])[-1].replace("edge-se: error: ", "").rstrip(".")
        raise RefusedError(f"{what} failed ({reason})")
    return result.stdout


# What JSON has to look like. The host checks the answers of boards by the same means.


def check(value: Any, shape: Any, name: str) -> None:
    """Compare JSON with a shape; RefusedError names what does not fit.

    A shape is a dict of the fields that there have to be, a list of the one shape that all entries
    have, or a function that says whether a value will do.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise RefusedError(f"{name} is not as expected")
        for key, part in shape.items():
            if key not in value:
                raise RefusedError(f"{name}.{key} is missing")
            check(value[key], part, f"{name}.{key}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise RefusedError(f"{name} is not as expected")
        for index, part in enumerate(value):
            check(part, shape[0], f"{name}[{index}]")
    elif not shape(value):
        raise RefusedError(f"{name} is not as expected")


def is_text(value: Any) -> bool:
    """Whether it is text of a line or two."""
    return isinstance(value, str) and len(value) <= TEXT_LENGTH


def is_real(value: Any) -> bool:
    """Whether it is a number of a size that measurements have."""
    return isinstance(value, (int, float)) and not is_flag(value) and abs(value) < 1e15


def is_number(value: Any) -> bool:
    """Whether it is such a number that is not negative."""
    return is_real(value) and value >= 0


def is_count(value: Any) -> bool:
    """Whether it is a whole number that is not negative."""
    return isinstance(value, int) and is_number(value)


def is_flag(value: Any) -> bool:
    """Whether it is true or false."""
    return isinstance(value, bool)


def is_id(value: Any) -> bool:
    """Whether it is the ID of a release."""
    return isinstance(value, str) and RELEASE_ID.match(value) is not None


def matches(pattern: str) -> Callable[[Any], bool]:
    """Whether it is text of a pattern."""
    return lambda value: is_text(value) and re.match(rf"(?:{pattern})\Z", value) is not None


def optional(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether it is null, or fits."""
    return lambda value: value is None or fits(value)


is_version = matches(r"\d{1,3}\.\d{1,3}")
SUMMARY_SHAPE = {
    "id": is_id,
    "installed": is_text,
    "model": is_text,
    "edge_se": is_text,
    "rtf": is_number,
}
REPORT_SHAPE = {"release": SUMMARY_SHAPE, "benchmark": {"rtf": is_number}}
DESCRIPTION_SHAPE = {
    "format_version": is_count,
    "edge_se": is_text,
    "platform": {"name": is_text, "machines": [is_text], "bits": is_count},
    "python": is_version,
    "system_numpy": is_flag,
    "model": {
        "name": is_text,
        "file": matches(r"model\.(tflite|so)"),
        "architecture": is_text,
        "precision": is_text,
        "sha256": is_text,
    },
    "installed_bytes": is_count,
}


def parse_json(data: bytes, name: str, shape: Any) -> dict[str, Any]:
    """Read JSON of a shape; RefusedError when it is anything else."""
    if not data.strip(b"\0 \n"):
        raise RefusedError(f"{name} is empty")
    try:
        content: dict[str, Any] = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise RefusedError(f"{name} is damaged") from None
    check(content, shape, name)
    return content


def read_json(path: Path, shape: Any) -> dict[str, Any]:
    """Read a file of JSON; see `parse_json`."""
    require_file(path, TEXT_LIMIT)
    return parse_json(path.read_bytes(), path.name, shape)


# What the board is


def probe(root: Path) -> dict[str, Any]:
    """Facts about the board, what is installed there and what has arrived."""
    import importlib.util

    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    arrived = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in (root / "incoming").glob("*")
        if ARCHIVE.match(path.name) and path.is_file() and not path.is_symlink()
    }
    return {
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "model": read_text("/proc/device-tree/model"),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "has_venv": importlib.util.find_spec("venv") is not None,
        "numpy": numpy_version(),
        "free_bytes": shutil.disk_usage(str(existing)).free,
        "leftover_bytes": sum(map(size_of, leftovers(root))),
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
    """The release in use, and all that are installed, oldest first; `damage` says of what kind."""
    found = [examine(folder) for folder in release_folders(root)]
    return {
        "current": current(root),
        "releases": sorted(found, key=lambda one: (one.get("installed", ""), one["id"])),
        "history": history(root),
    }


def release_folders(root: Path) -> list[Path]:
    """Folders of releases, whole or not."""
    return [folder for folder in (root / "releases").glob("*") if is_id(folder.name)]


def current(root: Path) -> str | None:
    """ID of the release in use; None where the link is missing or leads elsewhere."""
    link = root / "current"
    if not link.is_symlink():
        return None
    release = Path(os.readlink(str(link)))  # noqa: PTH115 (Python 3.9)
    known = release.parent == Path("releases") and is_id(release.name) and (root / release).is_dir()
    return release.name if known else None


def history(root: Path) -> list[str]:
    """IDs in the order in which releases came into use, as far as they can be read."""
    path = root / "history"
    if not path.is_file() or path.stat().st_size > TEXT_LIMIT:
        return []
    words = path.read_text(encoding="utf-8", errors="replace").split()
    return [word for word in words if is_id(word)]


def examine(folder: Path) -> dict[str, Any]:
    """What a release is, or what is damaged in it."""
    try:
        verify_release(folder)
        return {**stored_report(folder)["release"], "damage": None}
    except RefusedError as error:
        return {"id": folder.name, "damage": str(error)}
    except OSError as error:
        return {"id": folder.name, "damage": str(error.strerror or error)}


def stored_report(folder: Path) -> dict[str, Any]:
    """What was measured when a release was installed; written last in each."""
    report = read_json(folder / REPORT, REPORT_SHAPE)
    if report["release"]["id"] != folder.name:
        raise RefusedError(f"{REPORT} is of another release")
    return report


def verify_release(folder: Path) -> None:
    """Compare the files of a release, all but the environment, with their checksums."""
    if not (folder / REPORT).exists():
        raise RefusedError("its installation was interrupted")
    sums = read_checksums(folder)
    if release_id(folder) != folder.name:
        raise RefusedError(f"{CHECKSUMS} is damaged")
    for name, expected in sums.items():
        if "/" not in name:
            verify_file(folder / name, expected)


def model_of(folder: Path) -> Path:
    """The model of a release or a bundle whose files have been verified."""
    (name,) = (name for name in read_checksums(folder) if name.startswith("model."))
    return folder / name


def activate(root: Path, release: str, service: bool) -> None:
    """Make a release the current one, and go back if the service does not start with it."""
    before, unit = current(root), user_unit()
    served = unit.read_text(encoding="utf-8", errors="replace") if unit.is_file() else None
    switch(root, release)
    try:
        if service or served is not None:
            serve(root)
        if service:
            run(["systemctl", "--user", "enable", UNIT], "enabling the service")
            keep_serving(getpass.getuser())
            tell_priority()
        written = [*history(root), release][-KEPT_HISTORY:]
        write_whole(root / "history", "".join(f"{one}\n" for one in written))
    except (RefusedError, OSError):
        if before is None:
            (root / "current").unlink()
            sync(root)
        else:
            switch(root, before)
        restore_service(served)
        raise


def switch(root: Path, release: str) -> None:
    """Replace the link by one rename, so that there always is a current release."""
    link = root / ".current"
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(Path("releases") / release)
    link.replace(root / "current")
    sync(root)


def by_last_use(root: Path) -> list[str]:
    """IDs of the whole releases, from the one in use to the one used longest ago.

    Those whose use is not recorded come last, the newest first.
    """
    state = status(root)
    whole = [one["id"] for one in state["releases"] if one["damage"] is None]
    used = [state["current"], *reversed(state["history"]), *reversed(whole)]
    return [one for one in dict.fromkeys(used) if one in whole]


def rollback(root: Path) -> dict[str, Any]:
    """Go back to the release that was in use before the current one, and still works."""
    used = history(root) or by_last_use(root)
    for release in by_last_use(root):
        if release == current(root) or release not in used:
            continue
        try:
            smoke_test(root / "releases" / release)
        except RefusedError as error:
            say(f"passing over release {release}, which does not work any more ({error})")
            continue
        activate(root, release, service=False)
        return status(root)
    raise RefusedError("there is no earlier release to go back to")


def prune(root: Path) -> None:
    """Remove all whole releases but those that were in use last."""
    for release in by_last_use(root)[KEPT_RELEASES:]:
        say(f"removing release {release}")
        shutil.rmtree(str(root / "releases" / release))


def leftovers(root: Path) -> list[Path]:
    """What interrupted installations and damage have left, and nothing uses."""
    damaged = [
        folder
        for folder in release_folders(root)
        if folder.name != current(root) and examine(folder)["damage"] is not None
    ]
    unpacked = root / "incoming" / "unpacked"
    return [*damaged, *([unpacked] if unpacked.is_dir() else [])]


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    elif path.is_symlink() or path.exists():
        path.unlink()


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    paths = (Path(place, name) for place, _, names in os.walk(str(folder)) for name in names)
    return sum(path.lstat().st_size for path in paths)


def clean(root: Path) -> None:
    """Remove what nothing uses, as interrupted installations leave it."""
    for aside in (root / "releases").glob(".*"):  # see `build`
        folder = aside.with_name(aside.name[1:])
        if examine(folder)["damage"] is None:
            remove(aside)
        elif is_id(folder.name):
            remove(folder)
            aside.rename(folder)
    for folder in leftovers(root):
        say(f"removing {folder.name}, which is damaged or was interrupted")
        remove(folder)


def clean_arrivals(root: Path, arriving: str | None) -> None:
    """Remove bundles that arrived, but for the one that is arriving."""
    for archive in (root / "incoming").glob("*.tar.gz"):
        if archive.name != arriving:
            archive.unlink()


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other installations on this board out."""
    import fcntl  # not at the top: the host imports this module too, on whatever system

    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("another installation is running there; try again later") from None
        yield


# Installing


def install(root: Path, bundle: Path, max_rtf: float, service: bool) -> dict[str, Any]:
    """Install an unpacked bundle as a release, and switch to it when it has proved itself."""
    verify(bundle)
    release = release_id(bundle)
    if release in by_last_use(root):
        return use(root, release, max_rtf, service)
    build(root, bundle, root / "releases" / release, max_rtf)
    return finish(root, release, max_rtf, service)


def use(root: Path, release: str, max_rtf: float, service: bool) -> dict[str, Any]:
    """Switch to a release that is installed already, if it still works."""
    if release not in by_last_use(root):
        raise RefusedError("that release is not installed there, or is damaged; deploy it again")
    folder = root / "releases" / release
    try:
        smoke_test(folder)
    except RefusedError as error:
        (folder / REPORT).unlink()  # so that it is made anew
        raise RefusedError(
            f"release {release} does not work any more ({error}); deploy it again"
        ) from None
    return finish(root, release, max_rtf, service)


def finish(root: Path, release: str, max_rtf: float, service: bool) -> dict[str, Any]:
    """Switch to a release that works, if it is fast enough."""
    report = stored_report(root / "releases" / release)
    check_speed(report["benchmark"], max_rtf)
    changed = current(root) != release
    if changed or service:
        activate(root, release, service)
        prune(root)
    return {"changed": changed, **report}


def build(root: Path, bundle: Path, folder: Path, max_rtf: float) -> None:
    """Make a release of a verified bundle, all but the switch.

    A damaged one in its place is moved aside, and comes back if this fails: it may be in use.
    """
    description = read_json(bundle / DESCRIPTION, DESCRIPTION_SHAPE)
    check_board(probe(root), description)
    aside = folder.with_name(f".{folder.name}")
    if folder.is_symlink() or folder.exists():
        folder.rename(aside)
    folder.mkdir(parents=True)
    try:
        say("making a virtual environment")
        make_environment(bundle, folder / "env", description["system_numpy"])
        for name in (CHECKSUMS, *read_checksums(bundle)):
            if "/" not in name:
                shutil.copyfile(str(bundle / name), str(folder / name))
        with without_service():
            say("testing the model")
            smoke_test(folder)
            say("measuring the model")
            measured = benchmark(folder)
        check_speed(measured, max_rtf)
        summary = {
            "id": folder.name,
            "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "model": description["model"]["name"],
            "edge_se": description["edge_se"],
            "rtf": measured["rtf"],
        }
        report = {"release": summary, "benchmark": measured, "throttling": throttling()}
        say("writing everything to the disk")
        sync_tree(folder)
        write_whole(folder / REPORT, json.dumps(report, indent=2) + "\n")
        for place in (folder.parent, root, root.parent):
            sync(place)
    except BaseException:
        shutil.rmtree(str(folder), ignore_errors=True)
        if aside.is_symlink() or aside.exists():
            aside.rename(folder)
        raise
    remove(aside)


def release_id(folder: Path) -> str:
    """ID of the release that a bundle makes, by the checksums in it."""
    return sha256(folder / CHECKSUMS)[:12]


def read_checksums(folder: Path) -> dict[str, str]:
    """The checksums of a bundle or a release, by name."""
    require_file(folder / CHECKSUMS, TEXT_LIMIT)
    return parse_checksums((folder / CHECKSUMS).read_bytes())


def parse_checksums(data: bytes) -> dict[str, str]:
    """Checksums by name; RefusedError when they are not those of a bundle's files."""
    sums: dict[str, str] = {}
    for line in data.decode("ascii", "replace").splitlines():
        found = CHECKSUM.match(line)
        if found is None or BUNDLE_NAME.match(found.group(2)) is None or found.group(2) in sums:
            raise RefusedError(f"{CHECKSUMS} is damaged")
        sums[found.group(2)] = found.group(1)
    models = [name for name in sums if name in ("model.tflite", "model.so")]
    if len(models) != 1 or not {DESCRIPTION, "install.py", UNIT} < set(sums):
        raise RefusedError(f"{CHECKSUMS} does not list what a bundle has to hold")
    return sums


def check_listed(names: Iterable[str], sums: dict[str, str]) -> None:
    """Refuse files that are not in the list of checksums."""
    unlisted = sorted(set(names) - {*sums, CHECKSUMS})
    if unlisted:
        raise RefusedError(f"{shortened(unlisted[0])} is not in the bundle's {CHECKSUMS}")


def shortened(name: str) -> str:
    """A name from outside, for a message."""
    return ascii(name if len(name) <= 60 else name[:60] + "...")


def verify(bundle: Path) -> None:
    """Compare all files of an unpacked bundle with their checksums; nothing else may be there."""
    sums = read_checksums(bundle)
    found = (Path(place, name) for place, _, names in os.walk(str(bundle)) for name in names)
    check_listed((path.relative_to(bundle).as_posix() for path in found), sums)
    for name, expected in sums.items():
        try:
            verify_file(bundle / name, expected)
        except RefusedError as error:
            raise RefusedError(f"the bundle is not whole ({error}); send it again") from None


def verify_file(path: Path, expected: str) -> None:
    """Compare a file with its checksum."""
    require_file(path, BUNDLE_LIMIT)
    if sha256(path) != expected:
        raise RefusedError(f"{path.name} is damaged")


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
    free = facts["free_bytes"] + facts["leftover_bytes"]
    if free < needed:
        raise RefusedError(
            f"the board has {free // 10**6} MB free in {facts['root']}, but the "
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
    say("installing the wheels")
    python = environment / "bin" / "python"
    # Isolated: what PYTHONPATH has already would count as installed, and is not seen afterwards.
    command = [python, "-I", pip / "pip", "install", "--no-index", "--no-deps", "--no-cache-dir"]
    run([*command, "--disable-pip-version-check", *wheels], "installing the wheels")


def smoke_test(folder: Path) -> None:
    """Enhance bursts of noise, which only a working runtime and a working model can do."""
    samples, value = bytearray(), 1
    for index in range(256 * SMOKE_FRAMES):
        value = (1103515245 * value + 12345) % 2**31  # the same noise everywhere
        samples += struct.pack("<h", (value >> 16) % 8192 - 4096 if index // 3200 % 2 else 0)
    command = [*runtime(folder), "stream", "--model", model_of(folder)]
    output = run(command, "the smoke test", input=bytes(samples))
    if len(output) < len(samples) or not any(output):
        raise RefusedError("the smoke test failed (the model puts out nothing)")


def benchmark(folder: Path) -> dict[str, Any]:
    """The report of `edge-se benchmark`, here."""
    command = [*runtime(folder), "benchmark", "--model", model_of(folder), "--json", "-"]
    return parse_json(run(command, "the benchmark"), "the benchmark", {"rtf": is_number})


def runtime(folder: Path) -> list[Any]:
    """Command of a release's edge-se; its script's first line could not hold every path."""
    return [folder / "env" / "bin" / "python", "-I", "-m", "edge_se"]


def check_speed(measured: dict[str, Any], max_rtf: float) -> None:
    """Refuse a model that is too slow here."""
    if measured["rtf"] > max_rtf:
        raise RefusedError(
            f"the real-time factor there is {measured['rtf']:.4g}, above the limit of {max_rtf:g}"
        )


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise RefusedError where what comes from the host takes longer."""

    def give_up(*_: object) -> None:
        raise RefusedError(f"nothing came for {seconds} s; deploy it again")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def receive(archive: Path, start: int, total: int) -> None:
    """Put what comes by standard input behind the first bytes of a bundle, which arrived before."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.is_symlink() or not archive.is_file():
        remove(archive)
    arrived = archive.stat().st_size if archive.exists() else 0
    if not 0 <= start <= min(arrived, total) or total > BUNDLE_LIMIT:
        raise RefusedError("what had arrived of the bundle is there no more; deploy it again")
    incoming = cast(io.BufferedReader, sys.stdin.buffer)
    with archive.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while start < total:
            with time_limit(SILENT_S):  # who is cut off would keep others out for hours
                block = incoming.read1(min(1 << 18, total - start))
            if not block:
                raise RefusedError("the bundle did not arrive whole; deploy it again")
            file.write(block)
            start += len(block)
    sync(archive)


def read_archive(archive: IO[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names of the files in a bundle's archive, and their contents in blocks, in turn.

    A bundle is a plain tar of plain files, whose names are checked here.

    Raises:
        RefusedError: It is anything else.
    """
    names, total = set(), 0
    with gzip.GzipFile(fileobj=archive) as stream:
        while True:
            header = b"".join(blocks(stream, TAR_BLOCK))
            if not any(header):
                break
            with refusing_damage():
                member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            folder, _, name = member.name.partition("/")
            if member.type != tarfile.REGTYPE:
                raise RefusedError(f"{shortened(member.name)} in it is no plain file")
            if folder != BUNDLE or BUNDLE_NAME.match(name) is None:
                raise RefusedError(f"{shortened(member.name)} is no name that a bundle holds")
            if name in names:
                raise RefusedError(f"it holds {name} twice")
            names.add(name)
            total += max(member.size, 0)
            if member.size < 0 or total > BUNDLE_LIMIT:
                raise RefusedError(f"it says that {name} is larger than any bundle")
            yield name, blocks(stream, member.size)
            for _ in blocks(stream, -member.size % TAR_BLOCK):
                pass
        with refusing_damage():
            rest = stream.read(1 << 16).strip(b"\0") or stream.read(1)
        if rest:
            raise RefusedError("something follows its end")


def blocks(stream: gzip.GzipFile, size: int) -> Iterator[bytes]:
    """So many bytes of a stream, in blocks; RefusedError when it holds less."""
    while size > 0:
        with refusing_damage():
            block = stream.read(min(1 << 18, size))
        if not block:
            raise RefusedError("it is cut")
        size -= len(block)
        yield block


@contextlib.contextmanager
def refusing_damage() -> Iterator[None]:
    """Say it in one way when an archive can't be read."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise RefusedError("it is cut or damaged") from None


def unpack(archive: Path) -> Path:
    """Unpack a bundle that has arrived into a folder beside it, and nowhere else."""
    target = archive.with_name("unpacked")
    remove(target)
    bundle = target / BUNDLE
    (bundle / "wheels").mkdir(parents=True)
    if not archive.is_file():
        raise RefusedError("the bundle is not there any more; deploy it again")
    try:
        with archive.open("rb") as file:
            for name, content in read_archive(file):
                with (bundle / name).open("xb") as out:
                    out.writelines(content)
    except RefusedError as error:
        raise RefusedError(
            f"{archive.name} is no whole edge-se bundle ({error}); send it again"
        ) from None
    return bundle


# The service


def user_settings() -> Path:
    """The file in which a person says which devices the live stream is for."""
    return Path.home() / ".config" / "edge-se" / "live.toml"


def user_unit() -> Path:
    """Where systemd looks for the user's unit."""
    return Path.home() / ".config" / "systemd" / "user" / UNIT


def serve(root: Path) -> None:
    """Have the live stream run with the release that is current now."""
    folder = root / "current"
    unit = (folder / UNIT).read_text(encoding="utf-8", errors="replace")
    if "@RELEASE@" not in unit:
        raise RefusedError(
            "that release is from an edge-se without the live stream's command, which the service "
            f"runs; remove the service first: systemctl --user disable --now {UNIT} && rm "
            f"{user_unit()}"
        )
    if not user_settings().exists():
        user_settings().parent.mkdir(parents=True, exist_ok=True)
        write_whole(user_settings(), SETTINGS_TEXT)
    stop_service()
    say("trying the sound devices")
    command = [*runtime(folder), "live", "--check", "--model", folder]
    try:
        run([*command, "--settings", user_settings()], "the live stream", timeout=CHECK_S)
    except RefusedError as error:
        raise RefusedError(f"{error}; the board's {user_settings()} says which it uses") from None
    say("restarting the service")
    unit = unit.replace("@PYTHON@", quoted(folder / "env" / "bin" / "python"))
    unit = unit.replace("@RELEASE@", quoted(folder))
    if not has_user_namespaces():
        for setting in NEED_USER_NAMESPACES:
            unit = unit.replace(f"\n{setting}=", f"\n#{setting}=")
    write_unit(unit)
    run(["systemctl", "--user", "reset-failed", UNIT], "preparing the service", check=False)
    try:
        run(["systemctl", "--user", "restart", UNIT], "restarting the service", timeout=CHECK_S)
    except RefusedError as error:
        raise RefusedError(f"{error}; systemd says: {service_state()}") from None


def service_state() -> str:
    """What systemd knows of the service, on one line."""
    question = ["systemctl", "--user", "show", UNIT, "--property=Result,ExecMainStatus,StatusText"]
    return " ".join(run(question, "asking systemd", check=False).decode(errors="replace").split())


def is_serving() -> bool:
    """Whether the live stream runs now."""
    if not user_unit().is_file() or shutil.which("systemctl") is None:
        return False
    state = run(["systemctl", "--user", "is-active", UNIT], "asking systemd", check=False)
    return state.strip() in (b"active", b"activating")


def stop_service() -> None:
    """End the live stream, which uses the devices and the processor."""
    if is_serving():
        run(["systemctl", "--user", "stop", UNIT], "stopping the service")


def start_service(verb: str) -> None:
    """Have the live stream start again as it was, without waiting until its devices are there."""
    run(["systemctl", "--user", "--no-block", verb, UNIT], f"{verb}ing the service", check=False)


@contextlib.contextmanager
def without_service() -> Iterator[None]:
    """Have the live stream rest meanwhile, so that what is measured is the release alone."""
    serving = is_serving()
    if serving:
        say("stopping the live stream while the release is measured")
        stop_service()
    try:
        yield
    finally:
        if serving:
            start_service("start")


def keep_serving(user: str) -> None:
    """Have the user's services run without a login; say what to type where that is not allowed."""
    if shutil.which("loginctl") is None:
        return
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


def write_unit(unit: str) -> None:
    """Give systemd the unit."""
    path = user_unit()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, unit)
    run(["systemctl", "--user", "daemon-reload"], "reloading systemd")


def restore_service(unit: str | None) -> None:
    """Have systemd as it was before: with this unit, or with none."""
    try:
        if unit is not None:
            write_unit(unit)
            start_service("restart")
        elif user_unit().is_file():
            run(["systemctl", "--user", "disable", "--now", UNIT], "disabling the service")
            user_unit().unlink()
    except RefusedError as error:  # what led here is what has to be told
        say(str(error))


def quoted(path: Path) -> str:
    """A path as one word of a unit, whatever is in it."""
    word = ""
    for byte in os.fsencode(str(path)):
        character = chr(byte)
        if character in "%$":
            word += 2 * character
        elif character in '\\"' or not 32 <= byte < 127:
            word += f"\\x{byte:02x}"
        else:
            word += character
    return f'"{word}"'


def has_user_namespaces() -> bool:
    """Whether a user may have namespaces here, which some kernels and policies forbid."""
    try:
        run(["unshare", "--user", "--map-root-user", "true"], "making a user namespace")
    except RefusedError:
        return False
    return True


# The command line


def act(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked; return what to print."""
    root = find_root(arguments.root)
    if not (math.isfinite(arguments.max_rtf) and arguments.max_rtf > 0):
        raise RefusedError("--max-rtf has to be a number above 0")
    if arguments.action == "probe":
        return probe(root)
    if arguments.action == "status":
        return status(root)
    if arguments.action == "report":
        release = current(root)
        if release is None:
            raise RefusedError("no release is in use there")
        return {"changed": False, **stored_report(root / "releases" / release)}
    with locked(root):
        clean(root)
        if arguments.action == "rollback":
            return rollback(root)
        if arguments.action == "use":
            return use(root, arguments.release, arguments.max_rtf, arguments.service)
        clean_arrivals(root, arguments.archive)
        if arguments.archive is None:
            here = Path(__file__).resolve().parent
            return install(root, here, arguments.max_rtf, arguments.service)
        return install_archive(root, arguments)


def install_archive(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Receive a bundle by standard input, as far as it has not arrived yet, and install it."""
    expected = ARCHIVE.match(arguments.archive)
    if expected is None:
        raise RefusedError("that is no name of a bundle's archive")
    archive = root / "incoming" / arguments.archive
    if arguments.bytes is not None:
        receive(archive, arguments.arrived, arguments.bytes)
    say("unpacking")
    try:
        bundle = unpack(archive)
        verify(bundle)
        if release_id(bundle) != expected.group(1):
            raise RefusedError("the bundle is another one than its name says")
        report = install(root, bundle, arguments.max_rtf, arguments.service)
    finally:
        shutil.rmtree(str(archive.with_name("unpacked")), ignore_errors=True)
    archive.unlink()
    return report


def find_root(text: str) -> Path:
    """The folder that was asked for."""
    try:
        root = Path(text).expanduser().absolute()
    except RuntimeError:
        raise RefusedError(f"there is no home folder {shortened(text)}") from None
    if not text or root == Path(root.anchor):
        raise RefusedError("the root has to be a folder of its own, such as ~/edge-se")
    return root


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Install an edge-se bundle on this board.")
    actions = ["install", "use", "rollback", "status", "report", "probe"]
    parser.add_argument("action", choices=actions, nargs="?", default="install")
    parser.add_argument("--root", default="~/edge-se", help="where to install")
    parser.add_argument("--archive", help="a bundle in ROOT/incoming (default: this folder)")
    parser.add_argument("--arrived", type=int, default=0, help="bytes of it that are there")
    parser.add_argument("--bytes", type=int, help="its size: the rest is standard input")
    parser.add_argument("--release", help="ID of the installed release to use")
    parser.add_argument("--max-rtf", type=float, default=0.5, help="highest real-time factor")
    parser.add_argument("--service", action="store_true", help="start the live stream, now and on")
    result: dict[str, Any]
    try:
        result, code = act(parser.parse_args()), 0
    except RefusedError as error:
        result, code = {"error": str(error)[:TEXT_LENGTH]}, EXIT_REFUSED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        result, code = {"error": f"{error.strerror or error}{where}"[:TEXT_LENGTH]}, EXIT_REFUSED
    except KeyboardInterrupt:
        result, code = {"error": "interrupted"}, EXIT_INTERRUPTED
    with contextlib.suppress(BrokenPipeError):  # whoever asked is not there any more
        print(json.dumps(result, indent=2), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
