"""Real-time priority is taken where a limit allows it; on a board, `test_board.py` sees it held."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from edge_se.live.priority import (
    LONGEST_S,
    OWN_PRIORITY,
    PRIORITY,
    give_precedence,
    take_priority,
)

UNLIMITED = resource.RLIM_INFINITY
LONGEST = round(1e6 * LONGEST_S)


@pytest.fixture
def limits(monkeypatch):
    limits = {resource.RLIMIT_RTPRIO: (PRIORITY,) * 2, resource.RLIMIT_RTTIME: (UNLIMITED,) * 2}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    before = signal.getsignal(signal.SIGXCPU)
    yield limits
    signal.signal(signal.SIGXCPU, before)


@pytest.fixture
def scheduled(monkeypatch):
    calls: list[tuple] = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *call: calls.append(call))
    return calls


@pytest.mark.parametrize(
    ("most", "taken"), [(0, False), (PRIORITY - 1, False), (PRIORITY, True), (UNLIMITED, True)]
)
def test_it_is_taken_up_to_the_limit(limits, scheduled, most, taken):
    limits[resource.RLIMIT_RTPRIO] = (most, most)

    assert take_priority(print) is taken

    assert scheduled == ([(0, os.SCHED_RR, os.sched_param(OWN_PRIORITY))] if taken else [])
    assert limits[resource.RLIMIT_RTTIME] == (LONGEST if taken else UNLIMITED, UNLIMITED)


@pytest.mark.parametrize("policy", [os.SCHED_RR, os.SCHED_OTHER])
def test_what_serves_a_device_goes_before_what_computes(scheduled, monkeypatch, policy):
    monkeypatch.setattr(os, "sched_getscheduler", lambda process: policy)

    give_precedence(1234)

    before = [(1234, os.SCHED_RR, os.sched_param(PRIORITY))]
    assert scheduled == (before if policy == os.SCHED_RR else [])
    assert PRIORITY > OWN_PRIORITY


def test_a_shorter_limit_of_time_stays(limits, scheduled):
    limits[resource.RLIMIT_RTTIME] = (200_000, 200_000)

    assert take_priority(print)
    assert limits[resource.RLIMIT_RTTIME] == (200_000, 200_000)


def test_where_a_sandbox_is_against_it_sound_goes_on_without(limits, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    assert take_priority(print) is False


ASK = f"""
import os, resource, signal
try:
    resource.setrlimit(resource.RLIMIT_RTPRIO, ({PRIORITY}, {PRIORITY}))
except ValueError:
    pass  # only root raises it
from edge_se.live.priority import take_priority
taken = take_priority(print)
print(taken)
if taken:
    signal.raise_signal(signal.SIGXCPU)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    print("goes on")
"""


def test_what_computes_without_a_wait_gives_it_back_and_goes_on():
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    taken, *told = done.stdout.splitlines()
    if taken == "False":
        pytest.skip("this machine gives no real-time priority")
    assert "too slow" in told[0] and told[1:] == ["goes on"]
