"""A sound server of one's own, without a card, and what programs record from it."""

import contextlib
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tests.helpers.waiting import wait_for

RATE = 48000
RAW = ("--raw", "--format=s16le", f"--rate={RATE}", "--channels=1")
BUS = ("dbus-daemon", "--session", "--nofork", "--nopidfile", "--address")
DAEMONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "pipewire": (BUS, ("pipewire",), ("wireplumber",), ("pipewire-pulse",)),
    "pulseaudio": (
        ("pulseaudio", "-n", "--exit-idle-time=-1", "--load=module-native-protocol-unix"),
    ),
}
PROGRAMS = ("pactl", "parec", "paplay")
NEAR_S = 1.0  # arrivals among which the least held up tells when all were there

Arrival = tuple[float, bytes]


def missing(server: str) -> list[str]:
    """Programs of a server that are not installed."""
    return [
        name for name in (*(d[0] for d in DAEMONS[server]), *PROGRAMS) if not shutil.which(name)
    ]


@contextlib.contextmanager
def sound_server(server: str, home: Path) -> Iterator[None]:
    """Run one, with a room that can be heard, `room.monitor`; programs started meanwhile find it.

    Args:
        server: A key of `DAEMONS`.
        home: Files below .config/ are its settings.
    """
    with tempfile.TemporaryDirectory(prefix="edge-se-") as runtime, contextlib.ExitStack() as stack:
        bus = f"unix:path={runtime}/bus"
        changed = {"XDG_RUNTIME_DIR": runtime, "HOME": str(home), "DBUS_SESSION_BUS_ADDRESS": bus}
        stack.enter_context(mock.patch.dict(os.environ, changed))
        for daemon in DAEMONS[server]:
            command = [*daemon[:-1], f"{BUS[-1]}={bus}"] if daemon is BUS else daemon
            stack.enter_context(running(command, stderr=subprocess.DEVNULL))
            time.sleep(0.7)
        # PulseAudio's monitor would stand still while what was played ahead is played anew.
        room = ["pactl", "load-module", "module-null-sink", "sink_name=room", f"rate={RATE}"]
        room.append("norewinds=1")
        wait_for(lambda: subprocess.run(room, capture_output=True).returncode == 0)
        yield


@contextlib.contextmanager
def running(
    command: Sequence[str], stdout: int | None = None, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is ended at the end."""
    process = subprocess.Popen(command, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def record(sources: Sequence[str], seconds: float) -> list[np.ndarray]:
    """What programs that take 10 ms at a time record side by side, float32 [n] each."""
    command = ["parec", *RAW, "--latency-msec=10"]
    arrivals: dict[int, list[Arrival]] = {}
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
        for source in sources:
            recorder = running([*command, f"--device={source}"], stdout=subprocess.PIPE)
            pipe = stack.enter_context(recorder).stdout
            assert pipe
            waiting.register(pipe, selectors.EVENT_READ)
            arrivals[pipe.fileno()] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in waiting.select(1.0):
                data = os.read(key.fd, 1 << 16)
                assert data, "a recorder ended"
                arrivals[key.fd].append((time.monotonic(), data))
    begin = max(some[0][0] for some in arrivals.values())
    return [place(some, begin, round((end - begin) * RATE)) for some in arrivals.values()]


def place(arrivals: Sequence[Arrival], begin_s: float, count: int) -> np.ndarray:
    """Samples in their time, which that of the newest of each arrival tells.

    A program that was held up gets them late, so that of arrivals within `NEAR_S` the earliest,
    by the samples before it, holds for all.

    Args:
        arrivals: Seconds, and samples of 16 bits.
        begin_s: Second of the first sample.
        count: How many samples.

    Returns:
        float32 [count]; 0 where none came.
    """
    pieces = [np.frombuffer(data, "<i2") for _, data in arrivals]
    ends = np.cumsum([len(piece) for piece in pieces])
    started = np.array([second for second, _ in arrivals]) - begin_s - ends / RATE
    near = round(NEAR_S * RATE * len(pieces) / ends[-1])
    started = sliding_window_view(np.pad(started, near, "edge"), 2 * near + 1).min(-1)
    out = np.zeros(count, np.float32)
    for piece, first in zip(pieces, np.rint(started * RATE + ends).astype(int), strict=True):
        start, stop = (min(max(n, 0), count) for n in (first - len(piece), first))
        out[start:stop] = piece[start - first + len(piece) : stop - first + len(piece)] / 32768
    return out
