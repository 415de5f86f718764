"""Several solvers at work: jobs that run one after another in this process, or on an executor.

    Team.run(jobs)  ── submit ──▶  work(job)  ── Answer ──▶  done(answer): stop the others?
                                   in this process, a pool of ours, or anybody's executor

A job that fails is an answer that says so.  Ctrl-C and `stop` end the jobs that are running with
the best that they have: in this process and in threads of it through their progress functions, in
a pool of ours by a pipe whose end interrupts each worker (the end of this process does, too).
Another executor's processes cannot be reached; their jobs end at their time limit, and are not
waited for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import LowtideError
from lowtide.solvers.interrupts import Interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from concurrent.futures import Executor, Future
    from multiprocessing.connection import Connection

    from lowtide.solvers.remat.problem import Cost, OrderScope, RematProblem
    from lowtide.solvers.remat.solution import RematSolution

__all__ = ["INTERRUPTED", "Answer", "Job", "Team", "work"]

INTERRUPTED = "interrupted"
_TICK_S = 0.1
# How long past its time limit a job is waited for, and how long after it was told to stop.
_LATE_S, _STOP_S = 5.0, 3.0
_PROCESS = uuid.uuid4().hex
_stopped: set[str] = set()  # teams of this process that were told to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A call of a solver; everything in it can be pickled.

    Attributes:
        name: of the solver, for the reader.
        solve: a `RematSolver`.
        problem: what to solve.
        scope: the sequences asked for.
        time_limit_s: wall time; None for none.
        until: no later than this, by `time.time()`; None for no such limit.
        seed: of the solver.
        enough: a cost that is low enough to stop at; None for none.
        listens: the solver lets its progress function stop it (by KeyboardInterrupt).
        key: what the caller knows the job by.
    """

    name: str
    solve: Callable[..., RematSolution]
    problem: RematProblem
    scope: OrderScope
    time_limit_s: float | None
    until: float | None = None
    seed: int = 0
    enough: Cost | None = None
    listens: bool = False
    key: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a job: a solution, or why there is none."""

    name: str
    key: int
    solution: RematSolution | None
    failure: str = ""
    process: tuple[str, int] = ("", 0)
    cpu_seconds: float = 0.0


def work(job: Job, team: str = "", tell: Callable[[Cost | None], None] | None = None) -> Answer:
    """Do a job. Whatever goes wrong in it, apart from the process's death, is in the answer."""
    begin = cpu_seconds()
    limit = job.time_limit_s
    if job.until is not None:
        left = max(0.0, job.until - time.time())
        limit = left if limit is None else min(limit, left)

    def progress(cost: Cost | None, bound: Cost) -> None:
        del bound
        if tell is not None:
            tell(cost)
        met = cost is not None and job.enough is not None and cost <= job.enough
        if job.listens and (met or team in _stopped):
            raise KeyboardInterrupt

    solution: RematSolution | None = None
    failure = ""
    try:
        solution = job.solve(
            job.problem, scope=job.scope, time_limit_s=limit, seed=job.seed, progress=progress
        )
    except KeyboardInterrupt:
        failure = INTERRUPTED
    except LowtideError as error:
        failure = str(error)
    except Exception as error:  # a missing package, no memory, a bug: the others go on
        failure = f"{type(error).__name__}: {error}"
    spent = cpu_seconds() - begin
    return Answer(job.name, job.key, solution, failure, (_PROCESS, os.getpid()), spent)


def cpu_seconds() -> float:
    """Processor time of this process, all its threads, and its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Team:
    """Runs jobs; use it as a context.

    Args:
        executor: where; None for a pool of our own, or for this process if `threads` is 1.
        threads: how many jobs at a time.
        tell: hears the costs of jobs in this process, and None from time to time; may raise
            KeyboardInterrupt to stop everything.
    """

    def __init__(
        self,
        executor: Executor | None,
        threads: int,
        tell: Callable[[Cost | None], None] | None = None,
    ) -> None:
        self.workers = max(1, threads)
        self.stopped = False
        self.notes: list[str] = []
        self._executor, self._tell = executor, tell
        self._own: ProcessPoolExecutor | None = None
        self._pools: list[ProcessPoolExecutor] = []  # all that were ours
        self._pipe: tuple[Connection, Connection] | None = None
        self._interrupts = Interrupts()
        self._name = uuid.uuid4().hex
        self._begin, self._elsewhere_s, self._spent_s = cpu_seconds(), 0.0, 0.0

    def __enter__(self) -> Team:
        self._interrupts.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._retire()
            for pool in self._pools:
                pool.shutdown(wait=True, cancel_futures=True)
        finally:
            _stopped.discard(self._name)
            self._interrupts.__exit__()
            # Our pool's workers are children that have ended by now.
            self._spent_s = cpu_seconds() - self._begin + self._elsewhere_s

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C has struck, or `tell` has asked to stop."""
        return self._interrupts.struck or self.stopped

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all jobs and of this process; complete once the context has ended."""
        return self._spent_s or cpu_seconds() - self._begin + self._elsewhere_s

    def run(self, jobs: Sequence[Job], done: Callable[[Answer], bool]) -> None:
        """Do the jobs, if any; `done` hears each, and returns whether the others may stop."""
        if not jobs:
            return
        if self._executor is None and self.workers > 1 and len(jobs) > 1:
            self._start()
        executor = self._executor or self._own
        if executor is None:
            self._alone(jobs, done)
        else:
            self._together(executor, jobs, done)

    def _heard(self, cost: Cost | None) -> None:
        if self._tell is None:
            return
        try:
            self._tell(cost)
        except KeyboardInterrupt:
            self.stopped = True
            _stopped.add(self._name)

    def _alone(self, jobs: Sequence[Job], done: Callable[[Answer], bool]) -> None:
        for job in jobs:
            if self.interrupted or (job.until is not None and time.time() >= job.until):
                return
            if done(work(job, self._name, self._heard)):
                return

    def _together(
        self, executor: Executor, jobs: Sequence[Job], done: Callable[[Answer], bool]
    ) -> None:
        pending: dict[Future[Answer], Job] = {}
        limits = [job.until for job in jobs if job.until is not None]
        late = max(limits) + _LATE_S if len(limits) == len(jobs) else None
        # An exception out of the middle of `wait` could leave a future locked for good.
        self._interrupts.quiet = True
        try:
            for job in jobs:
                try:
                    with _uninterrupted():
                        pending[executor.submit(_serve, job, self._name)] = job
                except Exception as error:  # it is broken, was shut down, or cannot pickle the job
                    done(_failed(job, error))
            while pending and not self.interrupted and (late is None or time.time() < late):
                if self._collect(pending, done):
                    break
            self._stop(pending, done)
        finally:
            self._interrupts.quiet = False

    def _collect(self, pending: dict[Future[Answer], Job], done: Callable[[Answer], bool]) -> bool:
        """Hear the answers that have come; whether the others may stop."""
        enough = False
        finished, _ = wait(pending, timeout=_TICK_S, return_when=FIRST_COMPLETED)
        for future in finished:
            job = pending.pop(future)
            try:
                answer = future.result()
            except KeyboardInterrupt:  # struck between the job and its answer
                answer = Answer(job.name, job.key, None, INTERRUPTED)
            except Exception as error:
                answer = _failed(job, error)
                if isinstance(error, BrokenExecutor):
                    self._retire()  # the next jobs get a new one
            if self._executor is not None and answer.process != (_PROCESS, os.getpid()):
                self._elsewhere_s += answer.cpu_seconds
            enough |= done(answer)
        self._heard(None)
        return enough

    def _stop(self, pending: dict[Future[Answer], Job], done: Callable[[Answer], bool]) -> None:
        """End what is left: what has not begun never does, what runs hands over its best."""
        if not pending:
            return
        for future in [f for f in pending if f.cancel()]:
            del pending[future]
        _stopped.add(self._name)
        self._retire()
        until = time.time() + _STOP_S
        while pending and time.time() < until:
            self._collect(pending, done)
        pending.clear()
        _stopped.discard(self._name)

    def _start(self) -> None:
        """A pool of our own, if there is none yet; without one the jobs run in this process."""
        if self._own is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._pipe = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(
            self.workers, context, initializer=_begin_worker, initargs=(self._pipe[0],)
        )
        self._pools.append(pool)
        self._interrupts.quiet = True
        try:
            with _uninterrupted():
                probe = pool.submit(os.getpid)
            probe.result()
        except BrokenExecutor as error:
            # Most often the main module lacks `if __name__ == "__main__"`.
            self.notes.append(f"no pool of processes, so one after another: {error}")
            self.workers = 1
            self._retire()
        else:
            self._own = pool
        finally:
            self._interrupts.quiet = False

    def _retire(self) -> None:
        """Interrupt our pool's workers, and use it no more."""
        self._own = None
        if self._pipe is not None:
            for end in self._pipe:
                end.close()
            self._pipe = None


@contextlib.contextmanager
def _uninterrupted() -> Generator[None]:
    """Ctrl-C waits, and processes that begin meanwhile begin without it."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _failed(job: Job, error: Exception) -> Answer:
    return Answer(job.name, job.key, None, f"{type(error).__name__}: {error}")


def _serve(job: Job, team: str) -> Answer:
    """`work` in another thread or process, where one Ctrl-C ends the job and more do nothing."""
    with Interrupts(once=True):
        return work(job, team)


def _begin_worker(stop: Connection) -> None:
    """A worker of ours: idle it ignores Ctrl-C, busy it is interrupted by the pipe's end, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def watch() -> None:
        with contextlib.suppress(EOFError, OSError):
            stop.recv_bytes()
        parent = multiprocessing.parent_process()
        while parent is None or parent.is_alive():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(_TICK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
