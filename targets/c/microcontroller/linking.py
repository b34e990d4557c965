"""What a package takes of a microcontroller's memory: compiled, linked, and read from the map.

The stack is the deepest path through the calls that the compiler saw, not a run's.
"""

import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_se.errors import UserError
from targets.c.microcontroller import OPTIONS, Core

COMPILER = "arm-none-eabi-gcc"
# Of a function of the C library or of the compiler's, which say nothing of their own.
LIBRARY_STACK = 64
LINKING = ("-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "--specs=nano.specs")

_SECTION = re.compile(r"^ (\.\S+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S.*)$", re.MULTILINE)
_NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')


@dataclass(frozen=True)
class Memory:
    """Bytes by part."""

    flash: dict[str, int]
    ram: dict[str, int]


def measure(folder: Path, core: Core, work: Path) -> Memory:
    """Link a package's example for a core, and read what is in it.

    Args:
        folder: Of the package.
        core: To compile for.
        work: Empty folder for what is built.

    Raises:
        UserError: There is no compiler, or it failed.
    """
    folder = folder.resolve()  # the compiler runs in another
    parts = {
        "edge_se": folder / "src" / "edge_se.c",
        "engine": folder / "src" / "engine.c",
        "engine_weights": folder / "src" / "engine_weights.c",
        "microphone": folder / "example" / "microphone.c",
        "start": folder / "emulated" / "start.c",
    }
    objects = []
    flags = [*shlex.split(core.flags), *OPTIONS, *LINKING[:2], "-std=gnu99"]
    for name, path in parts.items():
        objects.append(str(work / f"{name}.o"))
        include = ["-I", str(folder / "include")]
        run([COMPILER, *flags, *include, "-fcallgraph-info=su", "-c", str(path)], work)
    script = ["-T", str(folder / "emulated" / "memory.ld"), "-nostartfiles"]
    linked = ["-o", str(work / "linked.elf"), f"-Wl,-Map={work / 'linked.map'}"]
    run([COMPILER, *flags, *LINKING, *script, *objects, *linked], work)
    flash: defaultdict[str, int] = defaultdict(int)
    ram: defaultdict[str, int] = defaultdict(int)
    text = (work / "linked.map").read_text().split("Linker script and memory map")[1]
    # A long name has a line of its own.
    for section, address, size, path in _SECTION.findall(
        re.sub(r"^( \.\S+)\n", r"\1", text, flags=re.M)
    ):
        found, name = int(size, 16), Path(path).stem
        left_out = not int(address, 16)  # by the linker, since nothing refers to it
        if left_out or not found or name in ("microphone", "start"):
            continue
        if section.startswith((".bss", ".data")):
            ram["streams" if name == "edge_se" else "work memory of all streams"] += found
        if section.startswith((".text", ".rodata", ".ARM.exidx", ".data")):
            flash[_part(section, name)] += found
    ram["stack of edge_se_process"] = _deepest(
        [work / "edge_se.ci", work / "engine.ci"], "edge_se_process"
    )
    return Memory(dict(flash), dict(ram))


def _part(section: str, name: str) -> str:
    if name == "engine_weights":
        return "weights"
    if name not in ("engine", "edge_se"):
        return "functions of the C library"
    return "code" if section.startswith(".text") else "tables"


def _deepest(files: Sequence[Path], begin: str) -> int:
    """Bytes of stack on the deepest path of calls."""
    own: dict[str, int] = {}
    calls: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        text = file.read_text()
        for title, label in _NODE.findall(text):
            size = re.search(r"(\d+) bytes \((static|dynamic,bounded)\)", label)
            if size:
                own[title] = int(size[1])
            elif " bytes (" in label:
                raise UserError(f"{title} takes stack without a bound")
        for caller, called in _EDGE.findall(text):
            calls[caller].add(called)

    def below(title: str) -> int:
        deeper = max(map(below, calls[title]), default=0)
        return own.get(title, LIBRARY_STACK) + deeper

    return below(begin)


def find_tool(name: str) -> None:
    """Raise UserError where a tool is missing."""
    if shutil.which(name) is None:
        raise UserError(
            f"there is no {name}, which packages for microcontrollers need; install "
            "gcc-arm-none-eabi and libnewlib-arm-none-eabi, and qemu-system-arm to run them"
        )


def run(command: Sequence[str], folder: Path) -> str:
    """Run a tool in a folder; what it prints.

    Raises:
        UserError: It is missing, or failed.
    """
    find_tool(command[0])
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        said = next((line for line in lines if "error:" in line), lines[-1])
        raise UserError(f"{Path(command[0]).name} failed ({said[-300:]})")
    return result.stdout


def memory_map(memory: Memory, core: Core, engine: str, source: str) -> str:
    """What a package takes, as Markdown."""
    lines = [
        f"# Memory of {engine} on a {core.name}",
        "",
        f"From {source}, compiled by `{COMPILER} {core.flags} {' '.join(OPTIONS)}` and linked with",
        "the example, whose own code and audio buffers are left out.",
    ]
    for title, parts in (("Flash", memory.flash), ("RAM", memory.ram)):
        lines += ["", f"| {title} | bytes |", "|---|---|"]
        lines += [f"| {name} | {size:,} |" for name, size in sorted(parts.items())]
        lines.append(f"| **all** | **{sum(parts.values()):,}** |")
    return "\n".join([*lines, ""])
