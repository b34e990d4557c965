"""Latency that is measured is that of the devices: by a pair of them whose delay is known."""

import os
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest

from edge_se.errors import UserError
from edge_se.live.latency import BURSTS, EVERY_S, LEAD_S, measure_latency
from edge_se.live.pcm import Pcm


class Cable:
    """A loudspeaker that is heard by a microphone so many samples later, changed by `line`."""

    is_file, waiting = False, 0

    def __init__(self, layout: Pcm, delay: int, line: Callable[[np.ndarray], np.ndarray]) -> None:
        self._layout, self._line = layout, line
        self._hop = round(0.016 * layout.rate)
        self._played = np.zeros((delay, layout.channels), np.float32)

    def read(self, patience_s: float | None) -> bytes | None:
        if patience_s == 0:
            return None
        hop, self._played = self._played[: self._hop], self._played[self._hop :]
        return self._layout.encode(self._line(hop))

    def write(self, data: bytes) -> None:
        samples = self._layout.decode(data)
        floats = samples / np.float32(32768) if samples.dtype == np.int16 else samples
        self._played = np.concatenate([self._played, floats])


def measure(layout: Pcm, delay: int, line=lambda hop: hop, **options):
    cable = Cable(layout, delay, line)
    return measure_latency(cable, cable, layout, max_lag=6, **options)


@pytest.mark.parametrize("delay_s", [0.016, 0.0451, 0.0733, 0.3])
@pytest.mark.parametrize("layout", [Pcm(16000, 1, "s16le"), Pcm(48000, 2, "s32le")])
def test_a_known_delay_is_found_to_the_sample(layout, delay_s):
    delay = round(delay_s * layout.rate)

    found = measure(layout, delay)

    assert (found.median, found.least, found.most) == (delay / layout.rate,) * 3


def test_it_is_found_in_noise_through_a_line_that_turns_the_sign():
    random = np.random.default_rng(0)

    found = measure(
        Pcm(16000, 1, "s16le"),
        1000,
        lambda hop: (-0.05 * hop + 0.005 * random.standard_normal(hop.shape)).astype(np.float32),
    )

    assert found.median == 1000 / 16000


def test_the_channel_that_is_listened_to_counts():
    def line(hop):
        return hop * np.array([0, 1], np.float32)

    layout = Pcm(48000, 2, "s16le")
    assert measure(layout, 2400, line, channel=2).median == 0.05
    with pytest.raises(UserError, match=f"0 of {BURSTS} bursts of noise came back"):
        measure(layout, 2400, line, channel=1)


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_without_a_cable_it_says_what_to_connect(level):
    random = np.random.default_rng(0)

    def line(hop):
        return (level * random.standard_normal(hop.shape)).astype(np.float32)

    with pytest.raises(UserError, match="connect it to the microphone by a cable"):
        measure(Pcm(16000, 1, "s16le"), 1000, line)


# What `aplay` plays comes back to `arecord` 50 ms after it was taken, in real time.
CABLE = """
import os, sys, time
hops = [bytes(512)] * {hops}
play = os.open({path!r}, os.O_RDWR | os.O_NONBLOCK)
end, rest = time.monotonic(), b""
while True:
    sys.stdout.buffer.write(hops.pop(0)); sys.stdout.buffer.flush()
    end += .016; time.sleep(max(0, end - time.monotonic()))
    try:
        rest += os.read(play, 512 - len(rest))
    except BlockingIOError:
        pass
    hops.append(rest if len(rest) == 512 else bytes(512))
    rest = b"" if len(rest) == 512 else rest
"""


@pytest.mark.slow
def test_the_command_says_where_the_latency_comes_from(card, edge_se, tiny_int8, tmp_path):
    path = tmp_path / "cable"
    os.mkfifo(path)
    (tmp_path / "cable.py").write_text(CABLE.format(hops=3, path=str(path)))
    card("arecord", f"exec {sys.executable} {tmp_path / 'cable.py'}\n")
    card("aplay", f"exec cat >{path}\n")

    result = edge_se("live", "--measure-latency", "--model", tiny_int8)

    assert result.returncode == 0, result.stderr
    total, least, most, devices, inside = map(float, re.findall(r"\d+\.\d", result.stdout))
    # The model's, and half of the kernel that follows the clocks.
    assert inside == 17.0
    assert total == pytest.approx(devices + inside, abs=0.11)
    assert least <= total <= most
    # Three hops on the cable, one that is collected, and silence that was there before.
    assert 48 < devices < 200


def test_it_takes_as_long_as_it_says():
    assert LEAD_S + BURSTS * EVERY_S < 9
