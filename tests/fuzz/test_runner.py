"""The fuzzer finds what it is there for, and a case is the same each time."""

import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import runner
from tests.fuzz.mutators import damage, damaged, generator


def refuse(words: str = "edge-se: error: it is no good; try another") -> int:
    print(words, file=sys.stderr)
    return 2


def fail() -> int:
    raise KeyError("absent")


def crash() -> int:
    return len(ctypes.string_at(0))


def hang() -> int:
    time.sleep(60)
    return 0


def write(name: str, text: str, status: int = 0) -> int:
    Path(name).write_text(text)
    return refuse() if status else 0


# What a command does, and what the fuzzer calls that.
DEEDS = {
    "accept": (lambda: write("out.json", "{}"), ""),
    "refuse": (refuse, ""),
    "traceback": (fail, "traceback: KeyError in test_runner.py:fail"),
    "crash": (crash, "crash: SIGSEGV in __init__.py:string_at"),
    "hang": (hang, "hang in test_runner.py:hang"),
    "half": (lambda: write("out.json", "{"), "traceback: json.decoder.JSONDecodeError in"),
    "leftover": (lambda: write(".out.17.json", "", 2), "left after status 2: .out.N.json"),
    "output": (lambda: write("out.json", "{}", 2), "left after status 2: out.json"),
    "input": (lambda: write("input", "other"), "the input input was changed"),
    "silent": (lambda: 2, "0 sentences, or words after them: ''"),
    "words": (lambda: refuse("edge-se: error: no\nmore"), "1 sentences, or words after them"),
    "long": (lambda: refuse("edge-se: error: " + "x" * 2000), "a sentence of 2 thousand char"),
    "escape": (lambda: refuse("edge-se: error: \x1b[2J"), "a sentence with control characters"),
    "status": (lambda: 1, "exit status 1"),
    "both": (lambda: refuse() - 2, "an error and status 0"),
}


def do(deed: str) -> runner.Outcome:
    """One case of a command that does that."""
    kind = runner.Kind(
        seeds=lambda: {"input": b"valid"},
        mutate=damage,
        commands=(("do",),),
        outputs={"out.json": lambda path: json.loads(path.read_text())},
        main=lambda command: DEEDS[deed][0](),
    )
    return runner.run_case("deed", kind, kind.seeds(), 0)


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """The fault of each deed, found in a process without threads, which may fork."""
    script = (
        "import json; from tests.fuzz import runner, test_runner as t; runner.HANG_SECONDS = 1;"
        "print(json.dumps({deed: t.do(deed).fault for deed in t.DEEDS}))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=runner.ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    faults: dict[str, str] = json.loads(result.stdout)
    return faults


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_command_does_wrong_is_found(found, deed):
    expected = DEEDS[deed][1]

    assert found[deed] == expected or (expected and found[deed].startswith(expected))


def test_a_case_is_the_same_each_time():
    seeds = {"a": bytes(range(200)), "b": b"x" * 300}

    cases = [damaged(generator("wav", n), seeds, damage, n) for n in range(50)]

    assert cases == [damaged(generator("wav", n), seeds, damage, n) for n in range(50)]
    assert cases[:2] == list(seeds.items())
    assert len(set(cases[2:])) > 45
