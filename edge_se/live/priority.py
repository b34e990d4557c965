"""Real-time priority, by which other programs do not hold sound up.

A nice value does not do that under systemd: it counts among the processes of one control group, and
every service and every login has one of its own.
"""

import os
import resource

PRIORITY = 10  # as sound programs have, below that of the kernel's own threads
LONGEST_S = 2.0  # of computing without a wait, after which the kernel ends what hangs


def take_priority() -> bool:
    """Give this thread, and programs that it starts, real-time priority where a limit allows it.

    Returns:
        Whether they have it.
    """
    if resource.getrlimit(resource.RLIMIT_RTPRIO)[0] < PRIORITY:
        return False
    longest, most = round(1e6 * LONGEST_S), resource.getrlimit(resource.RLIMIT_RTTIME)[1]
    resource.setrlimit(resource.RLIMIT_RTTIME, (longest, most))
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    return True
