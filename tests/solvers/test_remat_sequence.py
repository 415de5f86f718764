"""The native evaluator of moves against the recurrence in plain Python, move after move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import LowtideError
from lowtide.solvers import _native
from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.native import native_problem
from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.remat.reference import transients
from tests.solvers.remat_strategies import random_sequence, remat_problems

if TYPE_CHECKING:
    from random import Random

Edit = tuple[int, int]


def random_edits(sequence: list[int], problem: RematProblem, random: Random) -> list[Edit]:
    """Up to four edits: runs deleted, inserted and moved, in the order that the core asks for."""
    inserts: dict[int, list[int]] = {}
    deletes: set[int] = set()
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(sequence))
        kind = random.random()
        if kind < 0.7:
            deletes.add(at)
        if kind > 0.3:
            node = sequence[at] if kind < 0.7 else random.choice(sequence)
            if kind < 0.7 or node not in problem.pinned:
                inserts.setdefault(random.randint(0, len(sequence)), []).append(node)
    edits: list[Edit] = []
    for boundary in range(len(sequence), -1, -1):
        edits += [(boundary, node) for node in inserts.get(boundary, [])]
        if boundary - 1 in deletes:
            edits.append((boundary - 1, -1))
    return edits


def edited(sequence: list[int], edits: list[Edit]) -> list[int]:
    """The sequence after a move, from its definition."""
    result: list[int] = []
    deleted = {at for at, node in edits if node < 0}
    for boundary in range(len(sequence) + 1):
        result += [node for at, node in edits if node >= 0 and at == boundary]
        if boundary < len(sequence) and boundary not in deleted:
            result.append(sequence[boundary])
    return result


def is_valid(problem: RematProblem, sequence: list[int]) -> bool:
    try:
        peak_of(problem, sequence)
    except LowtideError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(remat_problems(max_nodes=8), st.randoms(use_true_random=False))
def test_moves_have_the_score_of_the_new_sequence(problem: RematProblem, random: Random) -> None:
    if not problem.num_nodes or problem.budget_bytes < problem.constant_bytes:
        return
    nodes = list(random_sequence(problem, random, 4))
    native = native_problem(problem)
    trial = _native.RematSequence(native, nodes)
    for _ in range(12):
        edits = random_edits(nodes, problem, random)
        new = edited(nodes, edits)
        if not edits or set(new) != set(nodes) or any(new.count(v) > 1 for v in problem.pinned):
            continue
        valid, cost, over_sum, over_max = trial.evaluate(edits)
        assert valid == is_valid(problem, new)
        if not valid:
            with pytest.raises(ValueError, match="not valid"):
                trial.make(edits)
        else:
            needs = transients(problem, new)
            over = [t - problem.budget_bytes + 1 for t in needs if t > problem.budget_bytes]
            assert cost == pytest.approx(float(problem.cost_of(tuple(new))))
            assert (over_sum, over_max) == (sum(over), max(over, default=0))
            # A limit rejects no move that is within it, and leaves nothing behind.
            assert trial.evaluate(edits, over_sum + over_max)[0]
            trial.evaluate(edits, random.randrange(over_sum + over_max + 1))
            assert trial.evaluate(edits) == (True, cost, over_sum, over_max)
            trial.make(edits)
            nodes = new
        assert trial.nodes == nodes
        assert trial.first_runs == [nodes.index(v) for v in range(problem.num_nodes)]
        assert trial.figures()[3] == [
            t - problem.constant_bytes for t in transients(problem, nodes)
        ]
        assert trial.figures()[1:3] == _native.RematSequence(native, nodes).figures()[1:3]


def test_malformed_moves_are_refused() -> None:
    problem = RematProblem(2, (), (1, 1), 0)
    trial = _native.RematSequence(native_problem(problem), [0, 1])
    bad: list[list[Edit]] = [[], [(2, -1)], [(3, 0)], [(-1, 0)], [(0, 2)], [(1, -1)]]
    for edits in [*bad, [(0, 0), (1, -1)], [(1, -1), (1, -1)]]:
        with pytest.raises(ValueError, match=r"edit|run"):
            trial.evaluate(edits)
    for nodes in ([0], [0, 2], [0, -1, 1]):
        with pytest.raises(ValueError, match="sequence"):
            _native.RematSequence(native_problem(problem), nodes)
