import numpy as np
import pytest

from edge_se.benchmark import (
    bursts,
    distribution,
    frames_of,
    load,
    measure,
    pace_frames,
    time_frames,
)
from edge_se.commands.benchmark import format_report


def test_every_frame_is_processed_in_order_and_again_from_the_first():
    seen = []
    frames = np.arange(6, dtype=np.float32).reshape(3, 2)

    times = time_frames(lambda frame, out: seen.append(frame[0]), frames, 5)

    assert seen == [0, 2, 4, 0, 2]
    assert times.shape == (5,) and (times > 0).all()


def test_a_frame_that_takes_too_long_is_a_miss():
    import time

    naps = iter([0.0, 0.03, 0.0, 0.0, 0.0, 0.0])
    frames = np.zeros((1, 2), np.float32)

    pacing = pace_frames(lambda frame, out: time.sleep(next(naps)), frames, 6, hop_s=0.02)

    assert pacing.misses >= 1
    assert pacing.times[1] >= 0.03e9


def test_frames_come_no_earlier_than_they_are_recorded():
    frames = np.zeros((1, 2), np.float32)

    pacing = pace_frames(lambda frame, out: None, frames, 5, hop_s=0.005)

    assert (pacing.wake_ups >= 0).all()


def test_percentiles_are_in_microseconds():
    times = np.arange(1, 102) * 1000

    assert distribution(times) == {"p5": 6, "p50": 51, "p95": 96, "p99": 100, "max": 101}


def test_the_last_frame_is_filled_up():
    frames = frames_of(np.ones(5, np.float32), 4)

    np.testing.assert_array_equal(frames, [[1, 1, 1, 1], [1, 0, 0, 0]])


def test_the_signal_is_noise_at_minus_26_dbfs_and_silence():
    signal = bursts(16000).reshape(10, -1)

    levels = 20 * np.log10(np.sqrt(np.mean(signal[::2] ** 2)))
    assert levels == pytest.approx(-26, abs=0.2)
    assert not signal[1::2].any()


def test_the_real_time_factor_is_time_over_audio_time(tiny_int8):
    measurement = measure(load(tiny_int8), frames_of(bursts(16000), 256), 50)

    expected = measurement.times.sum() * 1e-9 / (50 * 0.016)
    assert measurement.report["rtf"] == pytest.approx(expected, abs=1e-6)


def test_the_table_shows_the_percentiles(tiny_int8):
    report = measure(load(tiny_int8), frames_of(bursts(16000), 256), 50).report

    table = format_report(report)

    assert f"p50 {report['frame_us']['p50']}" in table
    assert f"deadline misses        {report['deadline_misses']} of 50" in table


def test_what_the_machine_does_not_tell_is_left_out(tiny_int8):
    report = measure(load(tiny_int8), frames_of(bursts(16000), 256), 50).report
    report["machine"] |= dict.fromkeys(("governor", "clock_mhz", "temperature_c", "load"))
    report["start_s"] = report["rss_before_load_mb"] = None

    assert "None" not in format_report(report)
