"""An emulated board: runs edge-se there and counts the instructions of its frame loop."""

import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.benchmark import STAGES
from edge_se.errors import UserError
from edge_se.files import written_beside
from targets.boards import Board, required_wheels
from targets.cache import cache_folder
from targets.emulation.system import arm_system, cpuinfo, find_emulator
from targets.wheels import fetch_wheels, runtime_wheel

ROOM = Path(__file__).parent
# In the order of counter.c.
CLASSES = ("integer", "branch", "memory", "vector_memory", "vector", "dot_product")
WARM_UP_FRAMES = 10
STAGED_FRAMES = 20

Counts = dict[str, float]


@dataclass(frozen=True)
class Counted:
    """What an emulated board did with some frames.

    Attributes:
        per_frame: Instructions of the whole loop for one frame, by class.
        stages: The same for each stage.
        enhanced: What it put out, [frames, hop] of the engine's sample dtype.
        engine: What ran, as `edge_se.engines.Engine.describe` says.
    """

    per_frame: Counts
    stages: dict[str, Counts]
    enhanced: NDArray[Any]
    engine: dict[str, Any]


@dataclass(frozen=True)
class EmulatedBoard:
    """A board's Debian and wheels on this machine, ready to run.

    Attributes:
        board: Which one.
        python: Version, such as "3.11".
        emulator: Command that starts the emulator.
        root: Of the Arm system, shared by all boards.
        scratch: Folder for everything of this use alone.
    """

    board: Board
    python: str
    emulator: tuple[str, ...]
    root: Path
    scratch: Path

    def run(
        self, arguments: Sequence[str], plugin: str | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Python there with these arguments; paths mean the same as on this machine."""
        core = self.board.core
        assert core is not None, f"{self.board.key} has no certain core"
        command = [*self.emulator, "-L", str(self.root), "-cpu", core.key]
        if plugin is not None:
            command += ["-plugin", plugin]
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.scratch),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(self.scratch / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }
        python = self.root / "usr" / "bin" / f"python{self.python}"
        return subprocess.run([*command, str(python), *arguments], env=environment, **options)

    def count(
        self,
        model: Path,
        samples: NDArray[np.float32],
        engine: str | None = None,
        runtime: str | None = None,
        stft: str | None = None,
    ) -> Counted:
        """Count the instructions that the frame loop takes for a signal.

        Args:
            model: A model file.
            samples: float32 [n] at the model's rate; the loop gets them as the engine takes them.
            engine: As of `edge_se.Enhancer`.
            runtime: The same.
            stft: The same.

        Raises:
            UserError: The model does not run there.
        """
        job, counts = self.scratch / "job.json", self.scratch / "counts.txt"
        orders = {
            "model": str(model.resolve()),
            "engine": engine,
            "runtime": runtime,
            "stft": stft,
            "warm_up_frames": WARM_UP_FRAMES,
            "staged_frames": STAGED_FRAMES,
        }
        job.write_text(json.dumps(orders))
        np.save(job.with_name("samples.npy"), samples)
        counter = build_counter(self.emulator)
        result = self.run(
            [str(ROOM / "guest.py"), str(job)],
            plugin=f"{counter},out={counts}",
            capture_output=True,
            text=True,
        )
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{model} does not run on the emulated {self.board.name} ({last})")
        enhanced = np.load(job.with_name("enhanced.npy"))
        per_frame, stages = read_counts(counts, len(enhanced))
        ran = json.loads(job.with_name("engine.json").read_text())
        return Counted(per_frame, stages, enhanced, ran)


def read_counts(path: Path, frames: int) -> tuple[Counts, dict[str, Counts]]:
    """Instructions per frame, of the loop and of each stage, from what the counter wrote.

    The cost of marking, known from two marks in a row, is taken off.
    """
    marks = np.loadtxt(path, dtype=np.int64, ndmin=2)
    steps = np.diff(marks, axis=0)
    marking = steps[1]
    loop = (steps[2] - marking) / frames
    staged = steps[4:] if len(steps) > 4 else np.zeros((0, len(CLASSES)), np.int64)
    stages = {
        name: _by_class(np.median(staged[index::4], axis=0) - marking)
        for index, name in enumerate(STAGES)
    }
    return _by_class(loop), stages


def _by_class(counts: NDArray[np.floating[Any]]) -> Counts:
    return {name: round(float(count), 1) for name, count in zip(CLASSES, counts, strict=True)}


@contextmanager
def emulated(board: Board, python: str) -> Iterator[EmulatedBoard]:
    """An emulated board, ready to run; what it needs is downloaded at the first use.

    Raises:
        UserError: It can't be emulated here.
    """
    emulator = find_emulator()
    system = arm_system(board, python)
    wheels = fetch_wheels(required_wheels(board, python), board.platform, python)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        scratch = Path(folder)
        # The system is shared between boards; what tells them apart is laid over it by links.
        root = scratch / "root"
        root.mkdir()
        for entry in system.iterdir():
            (root / entry.name).symlink_to(entry)
        (root / "proc").mkdir()
        (root / "proc" / "cpuinfo").write_text(cpuinfo(board))
        name, content = runtime_wheel(board.platform)
        (scratch / name).write_bytes(content)
        for wheel in (*wheels, scratch / name):
            _unpack(wheel, scratch / "site")
        yield EmulatedBoard(board, python, tuple(emulator), root, scratch)


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def build_counter(emulator: Sequence[str]) -> Path:
    """The counting plugin, compiled for that emulator and kept in the cache.

    Raises:
        UserError: There is no working compiler.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UserError("counting instructions needs a C compiler; install gcc")
    banner = subprocess.run([*emulator, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)", banner)
    interface = 2 if found is not None and int(found[1]) >= 9 else 1
    source = ROOM / "counter.c"
    target = cache_folder("emulation") / f"counter-{interface}-{source.stat().st_mtime_ns}.so"
    if not target.is_file():
        command = [compiler, "-O2", "-fPIC", "-shared", f"-DAPI={interface}"]
        with written_beside(target) as beside:
            built = subprocess.run([*command, "-o", str(beside), str(source)], capture_output=True)
            if built.returncode != 0:
                raise UserError(f"{compiler} can't compile {source.name}; install gcc, libc6-dev")
    return target
