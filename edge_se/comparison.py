"""Several models timed in one run, taking turns, so that whatever disturbs one disturbs all."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_se.benchmark import WARM_UP_FRAMES, Times, frames_of, time_frames
from edge_se.peers import Peer
from edge_se.resampling import resample
from edge_se.stft import Samples
from edge_se.text_table import aligned

# Audio per turn: long enough that a model finds its own weights in the caches for most of it.
TURN_S = 0.4
PERCENTILES = {"p5": 5, "p50": 50}


def take_turns(peers: Sequence[Peer], samples: Samples, seconds: float) -> list[Times]:
    """Time each peer over the same audio, in turns of `TURN_S` seconds, after a warm-up each.

    Args:
        peers: What to time.
        samples: float32 [n] at the first one's sample rate, repeated as often as needed; peers at
            another rate get them resampled.
        seconds: How much audio each one processes; rounded up to whole turns.

    Returns:
        For each peer nanoseconds per frame of its own hop, int64 [frames].
    """
    rate = peers[0].sample_rate
    frames = [
        frames_of(resample(samples, rate, peer.sample_rate), peer.hop_size, peer.sample_dtype)
        for peer in peers
    ]
    per_turn = [max(1, round(TURN_S * peer.sample_rate / peer.hop_size)) for peer in peers]
    for peer, own in zip(peers, frames, strict=True):
        time_frames(peer.process, own, WARM_UP_FRAMES)
    turns: list[list[Times]] = [[] for _ in peers]
    for turn in range(max(1, -int(-seconds // TURN_S))):
        for peer, own, count, times in zip(peers, frames, per_turn, turns, strict=True):
            due = np.arange(turn * count, (turn + 1) * count) % len(own)
            times.append(time_frames(peer.process, own[due], count))
    return [np.concatenate(times) for times in turns]


def compare(peers: Sequence[Peer], samples: Samples, seconds: float) -> list[dict[str, Any]]:
    """Time peers as `take_turns`, and relate them to the first.

    Returns:
        For each, ready for JSON: `name`, `size_kb`, `hop_ms`, and at `p5` and `p50` each
        `frame_us`, `rtf` (processing time over audio time) and `ratio` (of `rtf` to the first's).
    """
    report: list[dict[str, Any]] = []
    first: dict[str, float] = {}
    for peer, times in zip(peers, take_turns(peers, samples, seconds), strict=True):
        hop_s = peer.hop_size / peer.sample_rate
        frame_us = np.percentile(times, list(PERCENTILES.values())) / 1000
        rtf = dict(zip(PERCENTILES, (frame_us * 1e-6 / hop_s).tolist(), strict=True))
        first = first or rtf
        report.append(
            {
                "name": peer.name,
                "size_kb": peer.size_kb,
                "hop_ms": 1000 * hop_s,
                "frame_us": {
                    name: round(value, 1)
                    for name, value in zip(PERCENTILES, frame_us.tolist(), strict=True)
                },
                "rtf": {name: round(value, 6) for name, value in rtf.items()},
                "ratio": {name: round(value / first[name], 3) for name, value in rtf.items()},
            }
        )
    return report


def format_comparison(report: Sequence[dict[str, Any]]) -> str:
    """A report of `compare` as a table for people."""
    header = ("", "kB", "hop ms", "frame µs p5, p50", "real-time factor p5, p50", "ratio p5, p50")
    rows = [
        (
            entry["name"],
            f"{entry['size_kb']:6.1f}",
            f"{entry['hop_ms']:g}",
            f"{entry['frame_us']['p5']:7.1f} {entry['frame_us']['p50']:7.1f}",
            f"{entry['rtf']['p5']:8.5f} {entry['rtf']['p50']:8.5f}",
            f"{entry['ratio']['p5']:6.2f} {entry['ratio']['p50']:6.2f}",
        )
        for entry in report
    ]
    return "\n".join(aligned([header, *rows]))
