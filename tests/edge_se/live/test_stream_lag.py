"""A live source never lags, and of anything else nothing is lost: by a fake clock."""

from typing import Any, cast

import numpy as np
import pytest

from edge_se.live.stream import MAX_LAG_HOPS, MOST_SURPLUS_S, Settings, Stream
from tests.helpers.live import HOP, RATE, EagerSource, Echo, FakeSource, Speaker, World

HOP_S = HOP / RATE


def hop(index: int) -> bytes:
    """A hop whose samples tell when it was recorded."""
    return np.full(HOP, index, "<i2").tobytes()


def microphone(first_s: float, seconds: float, chunk_hops: int = 1) -> list[tuple[float, bytes]]:
    """Arrivals of what a microphone hears from a time on, in its own chunks."""
    hops = round(seconds / HOP_S)
    return [
        (
            first_s + (start + chunk_hops) * HOP_S,
            b"".join(map(hop, range(start, start + chunk_hops))),
        )
        for start in range(0, hops - chunk_hops + 1, chunk_hops)
    ]


def run(world, source, sink, **settings) -> tuple[Stream, list[str]]:
    said: list[str] = []
    stream = Stream(
        cast(Any, Echo()), source, sink, Settings(**settings), said.append, clock=world.clock
    )
    stream.pump()
    return stream, said


def lags(sink: Speaker, first_s: float) -> np.ndarray:
    """How old each hop was when the loudspeaker played it, in seconds."""
    played = np.frombuffer(sink.output, "<i2")[::HOP]
    return np.asarray(sink.played_s) - (first_s + (played + 1) * HOP_S)


@pytest.mark.parametrize("chunk_hops", [1, 2, 8])
@pytest.mark.parametrize("loading_s", [0.0, 0.3, 1.0, 3.0])
def test_what_a_microphone_piled_up_while_loading_is_never_heard(loading_s, chunk_hops):
    world = World()
    source = FakeSource(world, microphone(-loading_s, 12 + loading_s, chunk_hops))
    sink = Speaker(world)

    stream, said = run(world, source, sink)

    late = lags(sink, -loading_s)[5:]
    assert late.max() < (2 * chunk_hops + 2) * HOP_S
    if loading_s:
        assert stream.summary()["discarded_s"] >= min(loading_s, 2.0) - 3 * HOP_S
        assert "had piled up" in said[0]


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_hop_of_a_microphone_is_heard_when_it_comes_at_any_rate(rate):
    world = World()
    arrivals = [((n + 1) * HOP_S, bytes(2 * round(HOP_S * rate))) for n in range(100)]
    times: list[float] = []

    def stall() -> float:
        times.append(world.now)
        return 0.0

    sink = Speaker(world, capacity=1 << 24, stall=stall)
    run(world, FakeSource(world, arrivals), sink, rate=rate, max_lag=1000)

    np.testing.assert_allclose(times[:100], [second for second, _ in arrivals])


@pytest.mark.parametrize("stall_s", [0.2, 1.0, 3.0])
def test_a_hold_up_in_the_middle_is_made_good(stall_s):
    world = World()
    calls = iter(range(10**6))
    sink = Speaker(world, stall=lambda: stall_s if next(calls) == 300 else 0.0)

    run(world, FakeSource(world, microphone(0.0, 12)), sink)

    late = lags(sink, 0.0)
    assert late[100:300].max() < 3 * HOP_S
    assert late[330:].max() < (MAX_LAG_HOPS + 2) * HOP_S


def test_a_loudspeaker_whose_clock_is_slow_does_not_let_it_lag():
    world = World()
    sink = Speaker(world, speed=0.99)

    stream, _ = run(world, FakeSource(world, microphone(0.0, 60)), sink)

    assert lags(sink, 0.0)[100:].max() < (MAX_LAG_HOPS + 3) * HOP_S
    assert 0.4 < stream.summary()["discarded_s"] < 0.8  # 1 % of a minute


@pytest.mark.parametrize("speed", [0.0, 50.0, 2.0, 1.3])
@pytest.mark.parametrize("block", [1 << 16, 4096, 512])
def test_what_comes_faster_than_real_time_is_kept(speed, block):
    world = World()
    data = np.arange(20 * RATE, dtype="<i2").tobytes()
    sink = Speaker(world)

    stream, said = run(world, EagerSource(world, data, speed, block), sink)

    assert sink.output[: len(data)] == data
    assert not said
    assert not stream.summary()["discarded_s"]


def test_a_file_that_is_played_and_paused_is_kept():
    world = World()
    data = np.arange(20 * RATE, dtype="<i2").tobytes()
    calls = iter(range(10**6))
    sink = Speaker(world, stall=lambda: 3.0 if next(calls) == 400 else 0.0)

    run(world, EagerSource(world, data), sink)

    assert sink.output == data


@pytest.mark.parametrize("end", ["source", "sink"])
def test_where_an_end_is_a_file_everything_is_kept(end):
    world = World()
    arrivals = microphone(-1.0, 5)
    source, sink = FakeSource(world, arrivals, capacity=10**6), Speaker(world)
    (source if end == "source" else sink).is_file = True

    run(world, source, sink)

    assert sink.output == b"".join(data for _, data in arrivals)


def test_a_writer_that_pauses_between_utterances_is_kept():
    world = World()
    utterance = np.arange(2 * RATE - 100, dtype="<i2").tobytes()
    arrivals = [(5.0 * index, utterance) for index in range(4)]
    sink = Speaker(world)

    run(world, FakeSource(world, arrivals), sink)

    assert sink.output == 4 * utterance


def test_max_lag_0_keeps_everything():
    world = World()
    arrivals = microphone(-1.0, 12)
    sink = Speaker(world)

    run(world, FakeSource(world, arrivals, capacity=10**6), sink, max_lag=0)

    assert sink.output == b"".join(data for _, data in arrivals)


def test_a_max_lag_that_is_given_counts_from_the_first_hop_on():
    world = World()
    sink = Speaker(world)

    run(world, FakeSource(world, microphone(-1.0, 3)), sink, max_lag=4)

    assert lags(sink, -1.0).max() < 3 * HOP_S


@pytest.mark.parametrize("stall_s", [0.04, 0.06, 0.09])
def test_what_a_disturbance_leaves_waiting_is_heard_for_seconds_and_not_for_ever(stall_s):
    """A loudspeaker that stood still has so much more to play from then on."""
    world = World()
    stalls = iter([0.0] * 200 + [stall_s])

    class Stalling(Speaker):
        def write(self, data: bytes) -> None:
            self._end += next(stalls, 0.0)
            super().write(data)

    sink = Stalling(world)
    stream, _ = run(world, FakeSource(world, microphone(0, 30)), sink, max_lag=6)

    late = lags(sink, 0.0)
    assert late[205:220].min() > stall_s - 0.001
    assert late[200 + round(2.1 / HOP_S) :].max() < MOST_SURPLUS_S
    assert 0 <= late[-600:].min() <= late[-600:].max() < MOST_SURPLUS_S  # and it never runs empty
    assert stream.summary()["discarded_s"] == pytest.approx(stall_s - late[-1], abs=0.001)


def test_what_is_needed_now_and_then_is_kept():
    """Three hops come at once every second, for which what a first one left waiting is needed."""
    world = World()
    arrivals = [
        (second + (2 - index % 64) * HOP_S * (index >= 200 and index % 64 < 2), data)
        for index, (second, data) in enumerate(microphone(0, 30))
    ]
    sink = Speaker(world)

    stream, _ = run(world, FakeSource(world, arrivals), sink, max_lag=6)

    assert not stream.summary()["discarded_s"]
    np.testing.assert_allclose(lags(sink, 0.0)[-600:], 2 * HOP_S)
