"""Many tasks in processes of their own, results in order, and none lost because another died."""

import multiprocessing
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from edge_se.ending import ENDING_SIGNALS
from edge_se.errors import UserError, reason

Task = TypeVar("Task")
Report = Callable[[float], None]
# Does one task, says how far it is, and gives what there is to tell.
Work = Callable[[Task, Report], str]

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        summary: What was done; None if it failed.
        error: Why it failed.
        warnings: What else there is to tell.
    """

    summary: str | None = None
    error: str = ""
    warnings: tuple[str, ...] = ()


class _ParentGoneError(BaseException):
    """Nobody waits for results any more; as an interrupt, it undoes what is half done."""


def do(work: Work, task: Task, report: Report) -> Outcome:
    """Do one task here, and keep what it warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            summary, error = work(task, report), ""
        except UserError as failure:
            summary, error = None, str(failure)
        except MemoryError:
            summary, error = None, "there is not enough memory for it"
        except BrokenPipeError:  # of standard output: that is for the caller
            raise
        except OSError as failure:
            summary, error = None, f"{failure.filename or 'it'}: {reason(failure)}"
    return Outcome(summary, error, tuple(str(warning.message) for warning in caught))


def do_all(
    prepare: Callable[[], Work],
    tasks: Sequence[Task],
    jobs: int,
    report: Report,
) -> Iterator[Outcome]:
    """Do tasks in so many processes at a time.

    Args:
        prepare: Called once in each process, gives what does a task there; can be pickled.
        tasks: Can be pickled too.
        jobs: How many processes.
        report: Called with the share of all tasks that is done.

    Yields:
        What became of each task, in their order.

    Raises:
        UserError: `prepare` failed.
    """
    pool = _Pool(prepare, tasks, report)
    try:
        for _ in range(min(jobs, len(tasks))):
            pool.start()
        for number in range(len(tasks)):
            while number not in pool.outcomes:
                pool.step()
            yield pool.outcomes.pop(number)
    finally:
        pool.close()


class _Worker:
    def __init__(self, prepare: Callable[[], Any]) -> None:
        # Not forked: threads and locks of this process would be copied as they happen to be.
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, prepare), daemon=True)
        self.process.start()
        other.close()
        self.task: int | None = None
        self.share = 0.0
        self.ready = False


class _Pool:
    """Processes, what each of them does, and what came out of it."""

    def __init__(self, prepare: Callable[[], Any], tasks: Sequence[Any], report: Report) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._prepare, self._tasks, self._report = prepare, tasks, report
        self._waiting = iter(range(len(tasks)))
        self._done = 0
        self._workers: dict[Connection, _Worker] = {}

    def start(self) -> None:
        """Start one more process."""
        worker = _Worker(self._prepare)
        self._workers[worker.connection] = worker

    def step(self) -> None:
        """Wait for news of any process, and act on it."""
        for connection in wait(list(self._workers)):
            worker = self._workers[connection]  # type: ignore[index]
            try:
                kind, content = worker.connection.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if kind == "failed":
                raise UserError(content)
            if kind == "share":
                worker.share = content
            else:
                worker.ready = True
                self._finish(worker, content)
                self._give(worker)
        shares = sum(worker.share for worker in self._workers.values())
        self._report((self._done + shares) / len(self._tasks))

    def close(self) -> None:
        """End all processes; what they have half done, they undo."""
        for worker in self._workers.values():
            worker.connection.close()
        for worker in self._workers.values():
            worker.process.join(_PATIENCE_S)
            worker.process.kill()

    def _give(self, worker: _Worker) -> None:
        worker.task = next(self._waiting, None)
        if worker.task is None:
            return
        try:
            worker.connection.send(self._tasks[worker.task])
        except OSError:
            self._bury(worker)

    def _finish(self, worker: _Worker, outcome: Outcome | None) -> None:
        if worker.task is not None and outcome is not None:
            self.outcomes[worker.task] = outcome
            self._done += 1
        worker.task, worker.share = None, 0.0

    def _bury(self, worker: _Worker) -> None:
        del self._workers[worker.connection]
        worker.connection.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        how = signal.strsignal(-code) if code < 0 else f"exit status {code}"
        if not worker.ready:
            raise UserError(f"the process that was to do the work died at its start ({how})")
        had_task = worker.task is not None
        self._finish(worker, Outcome(error=f"the process that worked on it died ({how})"))
        if had_task:
            self.start()


def _serve(connection: Connection, prepare: Callable[[], Any]) -> None:
    # A signal to the whole process group reaches the parent too, which then closes the connection:
    # what is half written is undone.
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

    def send(kind: str, content: Any) -> None:
        try:
            connection.send((kind, content))
        except OSError:
            raise _ParentGoneError from None

    try:
        try:
            work = prepare()
        except UserError as error:
            send("failed", str(error))
            return
        send("done", None)
        while True:
            task = connection.recv()
            send("done", do(work, task, lambda share: send("share", share)))
    except (EOFError, OSError, _ParentGoneError):
        return
