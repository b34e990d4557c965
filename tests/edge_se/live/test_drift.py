"""Clocks that differ: nothing piles up or runs out, and no drift is no change."""

from typing import Any, cast

import numpy as np
import pytest

from edge_se.live.alsa import have_one_clock
from edge_se.live.devices import Buffering
from edge_se.live.drift import MOST_SPEED, DriftControl, VaryingResampler
from edge_se.live.stream import Settings, Stream
from tests.helpers.live import HOP, RATE, Card, Echo, Microphone, World

WAITS = Buffering(0.032)
HOP_S = HOP / RATE


def control() -> DriftControl:
    return DriftControl(WAITS.target_s, WAITS.tolerance_s, WAITS.period_s)


def play(ppm: float, seconds: float, jitter_s: float) -> tuple[Card, DriftControl, np.ndarray]:
    """A microphone whose clock is fast by `ppm`, into a card, by number of samples only."""
    random, world = np.random.default_rng(0), World()
    card = Card(world, WAITS.period_s, WAITS.buffer_s, silence_s=WAITS.full_s)
    drift, speeds, owed = control(), [], 0.0
    for hop in range(1, round(seconds / HOP_S)):
        world.now = max(world.now, hop * HOP_S / (1 + ppm * 1e-6) + random.uniform(0, jitter_s))
        speeds.append(drift.speed(card.waiting / 2 / RATE, HOP_S))
        owed += HOP / speeds[-1]
        card.write(bytes(2 * int(owed)))
        owed -= int(owed)
    return card, drift, np.array(speeds)


@pytest.mark.parametrize("jitter_s", [0.0, 0.008])
@pytest.mark.parametrize("ppm", [-200, 200])
def test_ten_minutes_of_drift_neither_pile_up_nor_run_out(ppm, jitter_s):
    card, drift, speeds = play(ppm, 600, jitter_s)

    assert card.xruns == 0
    waits = np.array(card.waits)
    assert waits.max() < 0.03  # and 31 ms behind it: far from being discarded
    assert waits[-10000:].mean() == pytest.approx(WAITS.target_s, abs=0.001)
    assert drift.drift_ppm == pytest.approx(ppm, abs=10)
    assert np.abs(speeds - 1).max() <= MOST_SPEED < 0.002
    # Once settled, the pitch stands still.
    assert np.abs(speeds[-10000:] - 1 - ppm * 1e-6).max() < 1e-4


def test_the_same_card_without_a_controller_runs_empty_or_piles_up():
    """What the controller is for: the fake card does tell."""
    world = World()
    card = Card(world, WAITS.period_s, WAITS.buffer_s, silence_s=WAITS.full_s)
    for hop in range(1, 37500):
        world.now = hop * HOP_S / (1 - 200e-6)
        card.write(bytes(2 * HOP))
    assert card.xruns > 0


def test_clocks_that_agree_leave_every_sample_as_it_is():
    _, drift, speeds = play(0.0, 600, 0.008)

    assert not drift.engaged and (speeds == 1.0).all()
    assert drift.drift_ppm == 0.0


def test_what_takes_all_at_once_has_no_clock_to_follow():
    drift = control()

    assert {drift.speed(0.0, HOP_S) for _ in range(10000)} == {1.0}


def test_a_lag_from_the_start_is_caught_up_within_bounds():
    drift, waiting = control(), 0.09
    for _ in range(7500):
        speed = drift.speed(waiting, HOP_S)
        assert 1 - MOST_SPEED <= speed <= 1 + MOST_SPEED
        waiting += HOP_S * (1 / speed - 1)
    assert waiting == pytest.approx(WAITS.target_s, abs=0.003)


def test_a_stream_with_drift_plays_all_that_came_without_a_click():
    world, ppm, hertz = World(), 200.0, 1000.0
    microphone = Microphone(world, lambda n: 10000 * np.sin(2 * np.pi * hertz / RATE * n), 60, ppm)
    card = Card(world, WAITS.period_s, WAITS.buffer_s, silence_s=WAITS.full_s)
    settings = Settings(RATE, 1, "s16le", max_lag=6)
    said: list[str] = []
    stream = Stream(
        cast(Any, Echo()),
        microphone,
        card,
        settings,
        said.append,
        clock=world.clock,
        drift=control(),
    )
    stream.pump()

    heard = np.frombuffer(card.output, "<i2")[HOP:-HOP].astype(float)
    assert not said and card.xruns == 0
    assert stream.drift_ppm > 100
    # Less than 60 s of the microphone's samples, since it is the faster one.
    assert 60 * RATE * 0.9985 < len(heard) + 2 * HOP < 60 * RATE
    # A sine obeys x[n+1] + x[n-1] = 2 cos(w) x[n]; a click does not.
    residual = heard[2:] + heard[:-2] - 2 * np.cos(2 * np.pi * hertz / RATE) * heard[1:-1]
    assert np.abs(residual).max() < 15  # of 10000, with rounding and a pitch of up to +0.15 %


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_at_the_speed_one_samples_pass_bit_by_bit(dtype):
    samples = np.random.default_rng(0).integers(-32768, 32768, 3000).astype(dtype)
    resampler = VaryingResampler()
    out = np.concatenate([resampler.push(part, 1.0) for part in np.split(samples, [1, 5, 900])])

    assert out.dtype == dtype and len(out) == len(samples)
    np.testing.assert_array_equal(out[resampler.delay :], samples[: -resampler.delay])


@pytest.mark.parametrize("hertz", [100.0, 3000.0, 6400.0])
@pytest.mark.parametrize("speed", [1 - MOST_SPEED, 1 + MOST_SPEED, 1.0002])
def test_a_tone_that_is_played_faster_is_a_tone(hertz, speed):
    wave = np.sin(2 * np.pi * hertz / RATE * np.arange(RATE)).astype(np.float32)
    resampler = VaryingResampler()

    out = np.concatenate([resampler.push(part, speed) for part in np.split(wave, 50)])

    times = np.arange(len(out)) * speed - resampler.delay
    error = (out - np.sin(2 * np.pi * hertz / RATE * times))[100:]
    assert 10 * np.log10(np.mean(error**2) / 0.5) < -80
    assert len(out) == pytest.approx(RATE / speed, abs=2)


def test_speeds_change_without_a_step():
    wave = np.sin(2 * np.pi * 440 / RATE * np.arange(RATE)).astype(np.float32)
    resampler, speeds = VaryingResampler(), (1.0, 1.0015, 1.0, 0.9985, 1.0)

    out = np.concatenate(
        [resampler.push(part, speed) for part, speed in zip(np.split(wave, 5), speeds, strict=True)]
    )

    residual = out[2:] + out[:-2] - 2 * np.cos(2 * np.pi * 440 / RATE) * out[1:-1]
    assert np.abs(residual[50:]).max() < 2e-3


@pytest.mark.parametrize(
    ("capture", "playback", "same"),
    [
        ("plughw:1,0", "hw:1,0", True),
        ("hw:CARD=Mic,DEV=0", "plughw:CARD=Mic,DEV=1", True),
        ("hw:CARD=Mic,DEV=0", "hw:Mic", True),
        ("plughw:1,0", "plughw:2,0", False),
        ("default", "default", False),  # which may be two cards
        ("pulse:a", "pulse:a", False),
    ],
)
def test_devices_of_one_card_have_one_clock(capture, playback, same):
    assert have_one_clock(capture, playback) is same


@pytest.mark.parametrize(
    ("buffer_ms", "full_ms"), [(4, 6.6), (6, 9.9), (16, 26.4), (20, 31), (100, 111)]
)
def test_a_smaller_buffer_makes_all_that_waits_smaller(buffer_ms, full_ms):
    waits = Buffering(buffer_ms * 1e-3)

    assert waits.full_s == pytest.approx(full_ms * 1e-3)
    assert waits.period_s <= waits.buffer_s / 4  # aplay needs two periods, and jitter its part
    assert waits.tolerance_s < waits.target_s


def test_the_smallest_buffer_is_followed_over_ten_minutes_of_drift():
    world, waits = World(), Buffering(0.006)
    card = Card(world, waits.period_s, waits.buffer_s, silence_s=waits.full_s)
    drift, owed = DriftControl(waits.target_s, waits.tolerance_s, waits.period_s), 0.0
    for hop in range(1, round(600 / HOP_S)):
        world.now = hop * HOP_S / (1 + 200e-6)
        owed += HOP / drift.speed(card.waiting / 2 / RATE, HOP_S)
        card.write(bytes(2 * int(owed)))
        owed -= int(owed)

    assert card.xruns == 0
    assert np.mean(card.waits[-10000:]) == pytest.approx(waits.target_s, abs=0.001)
