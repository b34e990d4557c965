"""The kinds of input that are damaged, and what reads each: one entry of `KINDS` a kind."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import soundfile
from numpy.random import Generator

import edge_se.cli
from edge_se.errors import sentence
from targets.application import APPLICATION
from targets.board.installer.command_line import main
from tests.fuzz import seeds
from tests.fuzz.containers import (
    SUMS,
    in_bundle,
    in_gzip,
    in_model,
    in_safetensors,
    in_weights,
    in_zip,
    signed_ogg,
    unpack_bundle,
)
from tests.fuzz.mutators import (
    command_line,
    damage,
    either,
    fields,
    flac_fields,
    json_text,
    offsets,
    pick,
    riff_fields,
    toml_text,
    zip_fields,
)
from tests.fuzz.runner import INPUT, Kind
from tests.helpers.releases import add_release

# What must hold of outputs --------------------------------------------------------------------


def whole_audio(path: Path) -> None:
    """Raise unless all of an audio file can be read."""
    with soundfile.SoundFile(path) as file:
        assert len(file.read()) == file.frames


def same_audio(path: Path) -> None:
    """Raise unless a damaged model that was accepted does as the valid one does."""
    (model,) = (other for other in path.parent.iterdir() if other != path)
    assert path.read_bytes() == (seeds.FIXTURES / f"{model.name}.wav").read_bytes()


def whole_model(path: Path) -> None:
    """Raise unless a model file is loaded and runs."""
    import numpy as np

    from edge_se import Enhancer

    enhancer = Enhancer(path)
    enhancer.enhance(np.zeros(1000, np.float32))


def whole_json(path: Path) -> None:
    """Raise unless a file is JSON."""
    json.loads(path.read_text(encoding="utf-8"))


# What commands run in -------------------------------------------------------------------------


@contextlib.contextmanager
def pipes(random: Generator, path: Path) -> Iterator[None]:
    """The file's bytes into standard input, and standard output read, by all manner of people.

    Input comes in chunks, from a file, or not at all; some listeners leave, some are slow or gone
    from the beginning; a signal or two may come in the middle.
    """
    samples, inputs, outputs = path.read_bytes(), os.pipe(), os.pipe()
    chunk = int(pick(random, (1, 7, 100, 511, 512, 1024, 100_000)))
    leaves_after = int(pick(random, (0, 1, 700, *[1 << 30] * 5)))
    signals = pick(random, ((), (), (signal.SIGTERM,), (signal.SIGINT, signal.SIGTERM)))

    def feed() -> None:
        with contextlib.suppress(OSError):
            for start in range(0, len(samples), chunk):
                os.write(inputs[1], samples[start : start + chunk])
        os.close(inputs[1])

    def listen() -> None:
        heard = 0
        while heard < leaves_after and (got := os.read(outputs[0], 4096)):
            heard += len(got)
            if heard == len(got):
                for number in signals:
                    os.kill(os.getpid(), number)
        os.close(outputs[0])

    for end, ours in ((0, inputs[0]), (1, outputs[1])):
        if random.random() < 0.2:
            fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
        os.dup2(ours, end)
        os.close(ours)
    how = int(random.integers(8))
    if how == 0:
        os.close(0)
    elif how == 1:
        os.close(1)
    elif how == 2:
        os.dup2(os.open(path, os.O_RDONLY), 0)
    elif how == 3:
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    for task in (feed, listen):
        threading.Thread(target=task, daemon=True).start()
    yield
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # it has ended


@contextlib.contextmanager
def board(random: Generator, path: Path) -> Iterator[None]:
    """An ssh whose board is in order."""
    with _ssh(path, f"cat {seeds.FACTS}"):
        yield


@contextlib.contextmanager
def odd_board(random: Generator, path: Path) -> Iterator[None]:
    """An ssh whose board answers everything with the file, and may refuse or greet."""
    greeting = pick(random, ("true", "true", "echo Welcome {home}"))
    status = pick(random, (0, 0, 0, 3, 1, 127, 255))
    with _ssh(path, f"{greeting}; cat {path}; exit {status}"):
        yield


@contextlib.contextmanager
def _ssh(path: Path, script: str) -> Iterator[None]:
    ssh = path.parent.parent / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    ssh.chmod(0o755)
    os.environ["PATH"] = f"{ssh.parent}:{os.environ['PATH']}"
    yield


@contextlib.contextmanager
def among_others(random: Generator, path: Path) -> Iterator[None]:
    """A folder of good recordings, and the file."""
    folder = path.parent.parent / "home"
    folder.mkdir()
    for other in seeds.CLIPS.iterdir():
        (folder / f"good_{other.name}").symlink_to(other)
    (folder / path.name).symlink_to(path)
    yield


def install_main(command: list[str]) -> int:
    """The board's installer, its answer's sentence being put where others have it."""
    sys.argv = [APPLICATION, *command]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main()
    if status:
        told = sentence(json.loads(output.getvalue())["error"])  # as the host shows it
        print(f"edge-se: error: {told}", file=sys.stderr)
    return status


def install_arrived(command: list[str]) -> int:
    """Install the archive that has arrived."""
    (archive,) = Path("../home/incoming").iterdir()
    return install_main(["install", "--archive", archive.name, *command])


def typed(command: list[str]) -> int:
    """The command line that a file holds, as JSON or as words."""
    text = Path(*command).read_text()
    try:
        return edge_se.cli.main(json.loads(text))
    except json.JSONDecodeError:
        return edge_se.cli.main(text.split())


def anything(path: Path) -> None:
    """What a command line with odd names wrote."""


@contextlib.contextmanager
def arrived(random: Generator, path: Path) -> Iterator[None]:
    """The file where a board expects a bundle that has arrived, under its right name."""
    incoming = path.parent.parent / "home" / "incoming"
    incoming.mkdir(parents=True)
    data = path.read_bytes()
    try:
        sums = unpack_bundle(data)[SUMS]
    except Exception:  # what is no archive has no name of its own
        sums = b""
    name = f"edge-se-{hashlib.sha256(sums).hexdigest()[:12]}.tar.gz"
    (incoming / name).write_bytes(data)
    yield


@contextlib.contextmanager
def installed(random: Generator, path: Path) -> Iterator[None]:
    """A board with two releases, the file being the report of the one in use."""
    root = path.parent.parent / "home"
    folders = [add_release(root, number) for number in (1, 2)]
    (folders[-1] / path.name).write_bytes(path.read_bytes())
    yield


# The kinds ------------------------------------------------------------------------------------

MODEL = ("--model", str(seeds.TINY))
ENHANCE = ("enhance", INPUT, "out.wav", *MODEL)
SEPARATE = ("separate", INPUT, "--out-dir", ".", "--model", str(seeds.SEPARATOR))
RUN = ("enhance", str(seeds.NOISY), "out.wav", "--model", INPUT)
LOOK = ("inspect", INPUT, "--json", "out.json")
QUANTIZE = ("quantize", "--out", "out.tflite")
CLIPS = ("--calibration-clips", str(seeds.CLIPS))
TOY = (str(seeds.TOY), "--architecture", "toy", "--recover", "0")
AT_HOME = ("--root", "../home")

WAVE = Kind(
    seeds=seeds.wave,
    mutate=either(damage, fields(riff_fields)),
    commands=(ENHANCE, ENHANCE, SEPARATE),
    outputs=dict.fromkeys(("out.wav", "*_vocals.wav", "*_accompaniment.wav"), whole_audio),
)
PICKLE = Kind(
    seeds=seeds.pickles,
    mutate=either(damage, fields(zip_fields), in_zip("data.pkl", damage), in_zip("", damage)),
    commands=((*QUANTIZE, INPUT, "--precision", "float"),),
    outputs={"out.tflite": whole_model},
)
DEPLOY = Kind(
    seeds=seeds.bundle,
    mutate=either(damage, in_gzip, in_bundle),
    commands=(("deploy", "board", "--bundle", INPUT, "--dry-run"),),
    around=board,
)

KINDS = {
    "wav": WAVE,
    "wav-stdlib": replace(WAVE, seeds=seeds.plain_wave, hidden=("soundfile",)),
    "flac": replace(WAVE, seeds=seeds.flac, mutate=either(damage, fields(flac_fields))),
    "ogg": replace(WAVE, seeds=seeds.ogg, mutate=either(damage, signed_ogg)),
    "audio": replace(WAVE, seeds=seeds.other_audio),
    "folder": replace(
        WAVE,
        seeds=seeds.folder,
        commands=(("enhance", "../home", "out", "--jobs", "1", *MODEL),),
        outputs={"out/[!.]*": whole_audio},
        around=among_others,
        always=("out/[!.]*",),
        cost=10,  # files of a folder are read by a process that is started anew
    ),
    "clips": replace(
        PICKLE,
        seeds=seeds.clips,
        mutate=either(damage, fields(riff_fields)),
        commands=((*QUANTIZE, *TOY, "--calibration-clips", "../home", "--precision", "int8"),),
        around=among_others,
        cost=20,  # most are calibrated with
        expected=frozenset({True}),  # a bad clip is skipped
    ),
    "tflite": replace(
        WAVE,
        seeds=seeds.tflite,
        mutate=either(damage, fields(offsets), fields(zip_fields)),
        commands=(RUN, LOOK),
        outputs={"out.wav": same_audio, "out.json": whole_json},
    ),
    "manifest": replace(
        WAVE,
        seeds=seeds.tflite,
        mutate=in_model,
        commands=(RUN, LOOK),
        outputs={"out.wav": whole_audio, "out.json": whole_json},
    ),
    "onnx": replace(
        WAVE,
        seeds=seeds.onnx,
        mutate=either(damage, in_model),
        commands=(RUN, LOOK),
        outputs={"out.wav": whole_audio, "out.json": whole_json},
    ),
    "so": replace(
        WAVE,
        seeds=seeds.compiled,
        mutate=damage,
        commands=(RUN, LOOK),
        outputs={"out.wav": same_audio, "out.json": whole_json},
    ),
    "weights": replace(
        WAVE,
        seeds=seeds.with_weights,
        mutate=in_weights,
        commands=((*RUN, "--engine", "c"), (*RUN, "--engine", "c", "--stft", "fixed")),
        outputs={"out.wav": whole_audio},
    ),
    "pickle": replace(PICKLE, cost=2),  # what is accepted is written and run
    "safetensors": replace(PICKLE, seeds=seeds.safetensors, mutate=either(damage, in_safetensors)),
    "ranges": replace(
        PICKLE,
        seeds=seeds.ranges,
        mutate=json_text,
        commands=((*QUANTIZE, *TOY, *CLIPS, "--precision", "int8", "--ranges", INPUT),),
        cost=4,  # what is accepted is calibrated, written and run
    ),
    "recipe": replace(
        PICKLE,
        seeds=seeds.recipes,
        mutate=toml_text,
        commands=((*QUANTIZE, *TOY, *CLIPS, "--precision", INPUT),),
        cost=4,
    ),
    "bundle": DEPLOY,
    "answer": replace(
        DEPLOY,
        seeds=seeds.answers,
        mutate=json_text,
        commands=(
            ("deploy", "board", "--list"),
            ("deploy", "board", "--rollback"),
            ("deploy", "board", "--bundle", str(seeds.BUNDLE), "--dry-run"),
            ("deploy", "board", "--bundle", str(seeds.BUNDLE)),
        ),
        around=odd_board,
    ),
    "installer": replace(
        DEPLOY,
        commands=(AT_HOME,),
        main=install_arrived,
        around=arrived,
        expected=frozenset({False}),  # the bundle is for another board than this machine
    ),
    "report": replace(
        DEPLOY,
        seeds=seeds.reports,
        mutate=json_text,
        commands=(
            ("status", *AT_HOME),
            ("report", *AT_HOME),
            ("rollback", *AT_HOME),
            ("use", "--release", seeds.RELEASE, *AT_HOME),
        ),
        main=install_main,
        around=installed,
    ),
    "options": replace(
        PICKLE,
        seeds=seeds.options,
        mutate=command_line,
        commands=((INPUT,),),
        outputs={"[!.]*": anything},
        main=typed,
        around=board,
        quiet=frozenset({1}),  # a model slower than --max-rtf
        always=("[!.]*/noisy.wav",),  # words typed twice may be inputs, of which some are there
    ),
    "stream": replace(
        WAVE,
        seeds=seeds.raw_audio,
        mutate=damage,
        commands=(("stream", *MODEL), ("stream", *MODEL, "--json", "out.json")),
        outputs={"out.json": whole_json},
        around=pipes,
        quiet=frozenset({130, 141, 143, -signal.SIGTERM}),  # listeners left, signals came
        always=("out.json",),
    ),
}
