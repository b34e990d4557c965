"""Fuzz some kinds of input, or run one case again.

python -m tests.fuzz wav flac --cases 10000
python -m tests.fuzz wav --case 17 --keep folder
"""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import Outcome, run_all


def main() -> int:
    """Run, print a line for each kind and each fault, and give 1 if there was any."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--cases", type=int, default=2000, help="of each kind (default: 2000)")
    parser.add_argument("--case", type=int, metavar="N", help="run this one alone, and show it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="with --case: keep its files")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    arguments = parser.parse_args()
    unknown = set(arguments.kinds) - KINDS.keys()
    if unknown:
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    kinds = arguments.kinds or list(KINDS)
    if len(kinds) > 1:
        options = [argument for argument in sys.argv[1:] if argument not in kinds]
        return each_apart(options, kinds)
    if arguments.case is not None:
        return show(kinds[0], arguments.case, arguments.keep)
    return fuzz(kinds[0], arguments.cases, arguments.jobs)


def fuzz(name: str, cases: int, jobs: int) -> int:
    """Run a kind's cases; give 1 if any had a fault, or if all were accepted or all refused."""
    cases //= KINDS[name].cost
    start, statuses, faults = time.monotonic(), Counter[bool](), dict[str, list[Outcome]]()
    for outcome in run_all(name, KINDS[name], range(cases), jobs):
        if outcome.fault:
            faults.setdefault(outcome.fault, []).append(outcome)
        else:
            statuses[outcome.status == 0] += 1
    failed = sum(map(len, faults.values()))
    print(
        f"{name}: {cases} cases in {time.monotonic() - start:.0f} s, {statuses[True]} accepted, "
        f"{statuses[False]} refused, {failed} failed"
    )
    for fault, outcomes in sorted(faults.items(), key=lambda item: -len(item[1])):
        numbers = ", ".join(str(outcome.number) for outcome in outcomes[:5])
        print(f"  {len(outcomes)} times {fault}\n    python -m tests.fuzz {name} --case {numbers}")
    vacuous = statuses.keys() != KINDS[name].expected
    return int(failed > 0 or vacuous)


def show(name: str, number: int, keep: Path | None) -> int:
    """Run one case again and show all of it; give 1 if it has a fault."""
    (outcome,) = run_all(name, KINDS[name], range(number, number + 1), 1, keep)
    print(f"{' '.join(outcome.command)}\n{outcome.errors}status {outcome.status}")
    print(outcome.fault or "as it should be")
    return int(bool(outcome.fault))


def each_apart(arguments: list[str], kinds: list[str]) -> int:
    """Run each kind in a process of its own: what one imports or hides is nothing to the next."""
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return max(subprocess.run([*command, kind]).returncode for kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
