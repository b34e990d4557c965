"""Real-time priority, by which other programs do not hold sound up.

A nice value does not do that under systemd: it counts among the processes of one control group, and
every service and every login has one of its own.
"""

import contextlib
import os
import resource
import signal
from collections.abc import Callable

PRIORITY = 10  # as sound programs have, below that of the kernel's own threads
OWN_PRIORITY = PRIORITY - 1  # of what computes, for which no device should wait
LONGEST_S = 2.0  # of computing without a wait, after which it is given back


def take_priority(say: Callable[[str], None]) -> bool:
    """Give this thread real-time priority where it may have it.

    What computes without a wait would keep every other program from running: it gets the usual
    priority back.

    Args:
        say: told when that happens.

    Returns:
        Whether it has it: a limit, a sandbox or a container may be against it.
    """
    highest = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if highest != resource.RLIM_INFINITY and highest < PRIORITY:
        return False

    def give_back(*_: object) -> None:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        say("the network is too slow for this machine: it no longer has real-time priority")

    signal.signal(signal.SIGXCPU, give_back)
    most = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    longest = round(1e6 * LONGEST_S)
    if most != resource.RLIM_INFINITY:
        longest = min(longest, most)
    resource.setrlimit(resource.RLIMIT_RTTIME, (longest, most))
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(OWN_PRIORITY))
    except PermissionError:
        return False
    return True


def give_precedence(process: int) -> None:
    """Have a program that serves a device go before this thread, if that has real-time priority.

    A small buffer would run empty while this thread computes, where both share a core.
    """
    if os.sched_getscheduler(0) == os.SCHED_RR:
        # It has ended, as whoever reads from it is told, or may not have more than this thread.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(PRIORITY))
