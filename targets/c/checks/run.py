"""Building and running the programs of this room."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge_se.errors import UserError
from quant.c.engines import make_engine
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint
from targets.c.generate import FLAGS, generate
from targets.c.plugin import plugin_sources
from targets.engines import silent

ROOM = Path(__file__).parent
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZERS = (
    *("-O1", "-g", "-DKEEP_LOOPS"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)

# The sources of an engine, and of a plugin.
ENGINE = ("gtcrn.c", "gtcrn_weights.c")
PLUGIN = ("ladspa.c", "engine.c", "engine_weights.c")


def generate_built_in(arithmetic: str) -> Path:
    """The built-in GTCRN's engine in a temporary folder, which stays."""
    folder = Path(tempfile.mkdtemp(prefix="edge-se-"))
    write_sources(generate(load_checkpoint(default_checkpoint_path()), arithmetic), folder)
    return folder


def plugin_of_built_in(arithmetic: str) -> Path:
    """The sources of a plugin of the built-in GTCRN in a temporary folder, which stays."""
    folder = Path(tempfile.mkdtemp(prefix="edge-se-"))
    checkpoint = load_checkpoint(default_checkpoint_path())
    engine = make_engine(checkpoint, arithmetic, None, silent)
    write_sources(plugin_sources(engine, "checked", checkpoint.name), folder)
    return folder


def write_sources(files: dict[str, str], folder: Path) -> None:
    """Write generated sources."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def build(
    folder: Path,
    arithmetic: str,
    compiler: str,
    program: str,
    options: Sequence[str] = (),
    sources: Sequence[str] = ENGINE,
) -> Path:
    """Compile sources, those of an engine with the prefix gtcrn, with a program of this room.

    Raises:
        UserError: There is no such compiler, or it failed.
    """
    if shutil.which(compiler) is None:
        raise UserError(f"there is no {compiler} here; install it")
    target = folder / f"{program}-{compiler}"
    define = [] if arithmetic == "float" else ["-DFIXED"]  # int16 samples
    files = [*(str(folder / name) for name in sources), str(ROOM / f"{program}.c")]
    command = [compiler, *FLAGS, *SANITIZERS, *options, *define, "-I", str(folder)]
    result = subprocess.run(
        [*command, *files, "-o", str(target), "-lm"], capture_output=True, text=True
    )
    if result.returncode:
        raise UserError(f"{compiler} can't build {program}.c ({result.stderr.strip()[-300:]})")
    return target


def _run(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise UserError(f"{Path(command[0]).name} found a fault: {result.stderr[-2000:]}")
    return result.stdout.strip() or "\n".join(result.stderr.strip().splitlines()[-1:])


def stress(folder: Path, arithmetic: str, compiler: str) -> str:
    """Ten minutes of difficult audio under AddressSanitizer and UndefinedBehaviorSanitizer.

    Raises:
        UserError: A fault was found.
    """
    return _run([str(build(folder, arithmetic, compiler, "stress"))])


def hostile(folder: Path, arithmetic: str, compiler: str, count: int) -> str:
    """Mutated weights, each refused or harmless under both sanitizers.

    Raises:
        UserError: A fault was found.
    """
    return _run([str(build(folder, arithmetic, compiler, "hostile")), str(count)])


def plugin(folder: Path, compiler: str, sources: Sequence[str] = PLUGIN) -> str:
    """A LADSPA plugin in a host that spares it nothing, under both sanitizers.

    Raises:
        UserError: A fault was found.
    """
    return _run([str(build(folder, "float", compiler, "plugin", sources=sources))])


def fuzz(folder: Path, arithmetic: str, seconds: int) -> str:
    """Coverage-guided fuzzing of the entry point by libFuzzer, with both sanitizers.

    Raises:
        UserError: A fault was found, or clang is missing.
    """
    program = build(folder, arithmetic, "clang", "fuzz", ["-fsanitize=fuzzer"])
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    # No limit of memory: the engine allocates none, and the peak of this process, which may have
    # calibrated a network, counts as the fuzzer's.
    limits = [f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=0"]
    limits.append("-print_final_stats=1")
    artifacts = f"-artifact_prefix={folder}/"
    result = subprocess.run(
        [str(program), *limits, artifacts, str(corpus)], capture_output=True, text=True
    )
    if result.returncode:
        raise UserError(f"the fuzzer found a fault: {result.stderr[-2000:]}")
    lines = result.stderr.strip().splitlines()
    wanted = [line for line in lines if line.startswith(("stat::number", "Done", "stat::new"))]
    covered = [line for line in lines if "cov:" in line][-1:]
    return "\n".join([*covered, *wanted])
