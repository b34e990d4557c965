"""Real-time priority is taken where a limit allows it; on a board, `test_board.py` sees it held."""

import os
import resource

import pytest

from edge_se.live.priority import LONGEST_S, PRIORITY, take_priority


@pytest.mark.parametrize(("most", "taken"), [(0, False), (PRIORITY - 1, False), (PRIORITY, True)])
def test_it_is_taken_up_to_the_limit_and_what_hangs_is_ended(monkeypatch, most, taken):
    limits = {resource.RLIMIT_RTPRIO: (most, most), resource.RLIMIT_RTTIME: (-1, -1)}
    calls: list[tuple] = []
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    monkeypatch.setattr(os, "sched_setscheduler", lambda *call: calls.append(call))

    assert take_priority() is taken

    wanted = [(0, os.SCHED_RR, os.sched_param(PRIORITY))] if taken else []
    assert calls == wanted
    longest = round(1e6 * LONGEST_S) if taken else -1
    assert limits[resource.RLIMIT_RTTIME] == (longest, -1)
