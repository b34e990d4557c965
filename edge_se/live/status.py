"""What a live stream does now: a line for people, a file for machines."""

import math
import os
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_se.console import Console
from edge_se.errors import UserError
from edge_se.files import write_json
from edge_se.quantized import SAMPLE_STEP

if TYPE_CHECKING:
    from edge_se.live.devices import Devices
    from edge_se.live.stream import Stream

INTERVAL_S = 1.0
SILENCE_DBFS = -120.0  # what digital silence is told as, and what is less


class Meter:
    """Level of a stream's samples since it was read last."""

    def __init__(self) -> None:
        self._energy, self._count = 0.0, 0

    def add(self, samples: NDArray[Any]) -> None:
        """Hear int16 or float32 [n]."""
        floats = samples.astype(np.float32, copy=False)
        step = SAMPLE_STEP if samples.dtype == np.int16 else 1.0
        self._energy += float(np.vdot(floats, floats)) * step**2
        self._count += len(samples)

    def read(self) -> float:
        """RMS in dB relative to full scale, at least `SILENCE_DBFS`; the next one starts anew."""
        power = self._energy / max(self._count, 1)
        self._energy, self._count = 0.0, 0
        level = 10 * math.log10(power) if power > 0 else SILENCE_DBFS
        return round(max(level, SILENCE_DBFS), 1)


class Status:
    """Tells what a live stream does, once a second: a line on a terminal, and JSON in a file.

    Counts go on over devices that were lost and opened again.
    """

    def __init__(
        self,
        path: Path | None,
        about: dict[str, Any],
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Be ready to tell.

        Args:
            path: Of the file; None for none.
            about: What does not change, as the devices' names.
            console: For the line.
            clock: In seconds.

        Raises:
            UserError: The file can't be written.
        """
        self._path, self._about, self._console, self._clock = path, about, console, clock
        self._told = -math.inf
        self._failed = False
        self._state: dict[str, Any] = {"state": "starting"}
        # Of streams that have ended, and then with those of the one that runs.
        self._before = {"xruns": 0, "discarded_s": 0.0, "discarded_hops": 0, "seconds": 0.0}
        self._counts = dict(self._before)
        self._write()

    def running(self, stream: "Stream", devices: "Devices") -> None:
        """Sound has gone out; told if the last time is long enough ago."""
        now = self._clock()
        if now - self._told < INTERVAL_S:
            return
        self._told = now
        self._count(stream, devices)
        level_in, level_out = stream.levels()
        self._state = {
            "state": "running",
            "in_dbfs": level_in,
            "out_dbfs": level_out,
            "gain_db": round(level_out - level_in, 1),
            "latency_ms": round(1e3 * (stream.latency_s + devices.delay_s), 1),
            "drift_ppm": round(stream.drift_ppm, 1),
            "frame_us": stream.summary()["frame_us"],
        }
        self._write()
        self._console.line(format_status(self._state | self._counts))

    def ended(self, stream: "Stream", devices: "Devices") -> None:
        """A stream has come to its end; what it counted is kept."""
        self._count(stream, devices)
        self._before = dict(self._counts)
        self._console.close()

    def waiting(self, why: str) -> None:
        """A device is waited for."""
        self._state = {"state": "waiting", "why": why}
        self._write()

    def stopped(self) -> None:
        """It was the last stream."""
        self._state = {"state": "stopped"}
        self._write()

    def _count(self, stream: "Stream", devices: "Devices") -> None:
        summary = stream.summary()
        for name in self._before:
            value = devices.xruns if name == "xruns" else summary[name]
            self._counts[name] = round(self._before[name] + value, 3)

    def _write(self) -> None:
        if self._path is None or self._failed:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        content = {**self._state, **self._counts, "updated": now, "pid": os.getpid(), **self._about}
        try:
            # It is of this moment: nothing is lost with the power, and the disk may be slow.
            write_json(self._path, content, lasting=False)
        except UserError as error:
            if self._told == -math.inf and self._state["state"] == "starting":
                raise
            # Sound matters more.
            self._failed = True
            self._console.say(f"edge-se: warning: {error}; the status is not written any more")


def format_status(status: dict[str, Any]) -> str:
    """One line for people, of a stream that runs."""
    line = (
        f"{status['in_dbfs']:.1f} dBFS in, {status['out_dbfs']:.1f} out "
        f"({status['gain_db']:+.1f} dB), {status['latency_ms']:.0f} ms latency, "
        f"{status['xruns']} xruns"
    )
    if status["drift_ppm"]:
        line += f", clocks {status['drift_ppm']:+.0f} ppm apart"
    if status["discarded_s"]:
        line += f", {status['discarded_s']:.2f} s discarded"
    return line
