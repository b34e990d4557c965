"""Progress of long work, on standard error."""

import sys
from typing import Any


class ProgressBars:
    """One bar on standard error per stage."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> "ProgressBars":
        return self

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Say that `done` of a stage's `total` are done."""
        from tqdm import tqdm

        if self._bar is None or self._bar.desc != stage:
            self.__exit__()
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
