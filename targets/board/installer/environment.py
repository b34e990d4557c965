"""A release's virtual environment, and whether the model works in it, and how fast."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

from .bundle import model_of
from .errors import RefusedError
from .processes import run, say
from .shapes import is_number, parse_json

SMOKE_FRAMES = 125


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
