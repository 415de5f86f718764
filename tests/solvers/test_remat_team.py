"""Jobs on executors: answers whatever happens, and an end when it is asked for."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import active_children, get_context
from random import Random
from threading import Timer
from typing import TYPE_CHECKING

import pytest

from lowtide.solvers.remat.check import check
from lowtide.solvers.remat.interval_cp import CpOptions, interval_cp
from lowtide.solvers.remat.problem import OrderScope
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.team import Answer, Job, Team, work
from tests.solvers.remat_strategies import training_problem

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lowtide.solvers.remat.problem import RematProblem
    from lowtide.solvers.remat.solution import RematSolution

SMALL = training_problem(4, Random(1))
LARGE = training_problem(60, Random(2))


def failing(*_: object, **__: object) -> RematSolution:
    """A solver with a bug."""
    raise ValueError("so it goes")


def job(problem: RematProblem, time_limit_s: float, **changes: object) -> Job:
    """A search."""
    solve = partial(search, options=SearchOptions(schedule=False))
    fields: dict[str, object] = {
        "name": "search",
        "solve": solve,
        "problem": problem,
        "scope": OrderScope.FREE,
        "time_limit_s": time_limit_s,
        "listens": True,
    }
    return Job(**(fields | changes))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_job_says_what_went_wrong() -> None:
    answer = work(job(SMALL, 1.0, solve=failing))
    assert (answer.solution, answer.failure) == (None, "ValueError: so it goes")


def test_a_job_ends_when_its_cost_is_enough() -> None:
    answer = work(job(LARGE, 600.0, enough=float("inf")))
    assert answer.solution is not None
    assert answer.solution.sequence is not None
    assert answer.cpu_seconds < 300.0


def test_a_job_that_begins_too_late_has_no_time() -> None:
    answer = work(job(LARGE, 600.0, until=time.time() - 1.0))
    assert answer.solution is not None
    assert answer.solution.seconds < 60.0


@pytest.mark.parametrize("kind", ["alone", "threads", "processes", "own"])
def test_answers_in_any_place_and_no_wait_when_one_is_enough(kind: str) -> None:
    executor: Executor | None = None
    before = set(active_children())
    if kind == "threads":
        executor = ThreadPoolExecutor(2)
    elif kind == "processes":
        executor = ProcessPoolExecutor(2, get_context("spawn"))
    answers: list[Answer] = []

    def done(answer: Answer) -> bool:
        answers.append(answer)
        return {1, 2} <= {each.key for each in answers}

    jobs = [
        job(SMALL, 1.0, solve=failing, key=1),
        job(SMALL, 0.2, key=2),
        *(job(LARGE, 600.0, key=k) for k in range(3, 6)),
    ]
    begin = time.perf_counter()
    with Team(executor, 1 if kind == "alone" else 2) as team:
        team.run(jobs, done)
        assert not team.interrupted
    if executor is not None and kind == "threads":
        executor.shutdown()
    elif executor is not None:
        # A foreign process cannot be told to stop: its job goes on, and is not waited for.
        for process in set(active_children()) - before:
            process.kill()
        executor.shutdown()
    assert time.perf_counter() - begin < 300.0
    assert {1, 2} <= {answer.key for answer in answers}
    failures = {answer.key: answer.failure for answer in answers}
    assert failures[1] == "ValueError: so it goes"
    for answer in answers:
        if answer.solution is not None:
            check(SMALL if answer.key == 2 else LARGE, answer.solution)
    assert team.cpu_seconds > 0


class Broken(ThreadPoolExecutor):
    """An executor that takes no work."""

    def submit(self, *_: object, **__: object) -> Future[Answer]:  # type: ignore[override]
        """Refuse."""
        raise RuntimeError("closed on Sundays")


def test_no_jobs_are_done_at_once() -> None:
    answers: list[Answer] = []

    def done(answer: Answer) -> bool:
        answers.append(answer)
        return False

    with ThreadPoolExecutor(1) as executor, Team(executor, 1) as team:
        team.run([], done)
    assert not answers


def test_an_executor_that_refuses_is_an_answer() -> None:
    answers: list[Answer] = []

    def done(answer: Answer) -> bool:
        answers.append(answer)
        return False

    with Team(Broken(1), 1) as team:
        team.run([job(SMALL, 1.0)], done)
    assert [answer.failure for answer in answers] == ["RuntimeError: closed on Sundays"]


def test_intervals_end_when_they_are_told_to() -> None:
    """CP-SAT in its thread gives what it has, and Python keeps Ctrl-C."""
    problem = training_problem(14, Random(3)).with_budget_ratio("0.7")
    before = signal.getsignal(signal.SIGINT)
    timer = Timer(2.0, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    try:
        solution = interval_cp(
            problem, time_limit_s=600.0, options=CpOptions(runs=None, search_work=0)
        )
        check(problem, solution)
        assert solution.seconds < 300.0
    except KeyboardInterrupt:  # it struck before the solver began, or after its end
        pass
    finally:
        timer.cancel()
    assert signal.getsignal(signal.SIGINT) is before
