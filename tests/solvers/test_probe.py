"""Probing: refutation by cases, against brute force, and its steps as certificates."""

from __future__ import annotations

from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.solvers import _native
from lowtide.solvers.schedule.certificate import Certificate, Proof, SearchProof, problem_sha256
from lowtide.solvers.schedule.certify_cases import CaseProver, search_states
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.check_certificate import check_certificate
from lowtide.solvers.schedule.exact import ExactOptions, native_problem, schedule
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import networks, schedule_problems


def whole(
    problem: ScheduleProblem, budget: int, slice_: int, case_limit: int = 10**6
) -> tuple[bool | None, list[tuple[int, int, int]]]:
    native = native_problem(problem)
    n = problem.num_nodes
    return _native.probe(native, 0, n, budget, slice_, case_limit, -1.0)


@settings(max_examples=300, deadline=None)
@given(schedule_problems(max_nodes=8), st.sampled_from([2, 1000]), st.integers(-2, 2))
def test_probing_decides_as_brute_force_does(
    problem: ScheduleProblem, slice_: int, offset: int
) -> None:
    assume(problem.num_nodes > 0)
    best = best_by_ideals(problem)
    feasible, _ = whole(problem, best + offset, slice_)
    # A few states may not be enough where all nodes are in order and overwriting is possible.
    assert feasible is (offset >= 0) or (feasible is None and slice_ == 2)


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 3, 1000]))
def test_cases_of_networks_are_certificates(random: Random, slice_: int) -> None:
    problem = networks(random, 14)
    best = schedule(problem, options=ExactOptions(deduce=False, probe=False)).peak_bytes
    assert best is not None
    native = native_problem(problem)
    n = problem.num_nodes
    feasible, steps = whole(problem, best - 1, slice_)
    assert feasible is not True
    assert whole(problem, best, slice_)[0] is not False
    if feasible is None:
        return

    def search(native: _native.Schedule, forward: bool) -> Proof | None:
        found, _, codes, ends = _native.trace_search(
            native, 0, n, best - 1, forward, False, 10_000, -1.0
        )
        assert found is False
        return SearchProof(forward, -1, -1, search_states(codes, ends))

    prover = CaseProver(problem, native, range(n), (0, n), best - 1, search)
    proofs = prover.proofs(steps)
    assert proofs is not None
    certificate = Certificate(problem_sha256(problem), n, False, True, best, proofs)
    assert check_certificate(problem, certificate) == best


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_probing_changes_no_verdict(random: Random) -> None:
    problem = networks(random, 16)
    alone = ExactOptions(
        min_cut=False, reorder=False, windows=False, beam=False, deduce=False, heuristics=False
    )
    solution = schedule(problem, time_limit_s=None, options=alone)
    without = schedule(problem, options=ExactOptions(deduce=False, probe=False))
    assert solution.order is not None
    assert peak_of(problem, solution.order) == solution.peak_bytes == without.peak_bytes


def test_a_limit_on_cases_is_kept() -> None:
    problem = ScheduleProblem(
        12, tuple(Buffer(1 + v % 5, v, (v + 2,) if v < 10 else (), v >= 10) for v in range(12))
    )
    best = schedule(problem).peak_bytes
    assert best is not None
    feasible, steps = whole(problem, best, 1, case_limit=1)
    assert feasible is None or len(steps) == 1
