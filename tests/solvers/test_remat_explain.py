"""Why a budget is impossible: the witness holds in every sequence."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.solvers.remat.bounds import peak_bound
from lowtide.solvers.remat.explain import Infeasibility, Needed, Why, explain
from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.remat.reference import transients
from lowtide.solvers.schedule.problem import Buffer
from tests.solvers.remat_repeats import repeat_problems
from tests.solvers.remat_strategies import random_sequence, remat_problems

# a -> b -> c -> d, and d reads a as well; c scratches.
CHAIN = RematProblem(
    4,
    (Buffer(4, 0, (1, 3)), Buffer(1, 1, (2,)), Buffer(5, 2, (3,)), Buffer(1, 3, (), True)),
    (3, 1, 1, 1),
    12,
    workspace=(0, 0, 6, 0),
)


def live_at(problem: RematProblem, sequence: tuple[int, ...], at: int) -> set[int]:
    """The buffers that are there during a run, from the definition."""
    live = {k for k, b in enumerate(problem.buffers) if b.output}
    for index in range(len(sequence) - 1, at - 1, -1):
        after, node = live, sequence[index]
        made = {k for k, b in enumerate(problem.buffers) if b.producer == node}
        live = (after - made) | {k for k, b in enumerate(problem.buffers) if node in b.consumers}
        if index == at:
            return after | made | live
    return live


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(remat_problems(max_nodes=6), repeat_problems()),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_the_witness_is_live_in_every_sequence(
    problem: RematProblem, missing: int, random: Random
) -> None:
    least, method = peak_bound(problem)
    assert explain(problem.with_budget(least)) is None
    if least <= missing:
        return
    problem = problem.with_budget(least - 1 - missing)
    found = explain(problem)
    assert found is not None
    assert (found.needed_bytes, found.method) == (least, method)
    assert found.excess_bytes == 1 + missing
    total = sum(t.size_bytes for t in found.tensors) + found.workspace_bytes + found.constant_bytes
    assert total - found.overwritten_bytes == found.needed_bytes > found.budget_bytes
    assert len({t.buffer for t in found.tensors}) == len(found.tensors)
    for _ in range(5):
        sequence = random_sequence(problem, random, 4)
        if found.node is None:
            counted = {t.buffer for t in found.tensors}
            live = live_at(problem, sequence, 0 if method == "inputs" else len(sequence))
            unread = {k for k in counted if problem.buffers[k].producer < 0}
            assert counted <= live | unread
            continue
        at = sequence.index(found.node)
        assert {t.buffer for t in found.tensors} <= live_at(problem, sequence, at)
        assert transients(problem, sequence)[at] >= found.needed_bytes


def test_an_op_and_what_it_touches() -> None:
    found = explain(CHAIN.with_budget(11), node_names=("a", "b", "c", "d"))
    assert found == Infeasibility(
        11,
        12,
        "one op",
        2,
        (Needed(2, 5, Why.MADE, "c"), Needed(1, 1, Why.READ, "b")),
        workspace_bytes=6,
        node_name="c",
    )
    assert found is not None
    assert found.message == (
        "op 2 `c` needs 12 bytes at once, 1 over the budget: raise it to 12 bytes or more"
    )


def test_what_cannot_be_made_again() -> None:
    found = explain(replace(CHAIN, pinned=(0,)), buffer_names=("w", "x", "y", "z"))
    assert found is not None
    assert (found.node, found.needed_bytes) == (2, 16)
    assert found.tensors == (
        Needed(2, 5, Why.MADE, "y"),
        Needed(0, 4, Why.KEPT, "w"),
        Needed(1, 1, Why.READ, "x"),
    )
    assert "op 2, with what cannot be made again, needs 16 bytes at once" in found.message


def test_inputs_and_outputs() -> None:
    buffers = (Buffer(4, -1, (0,)), Buffer(3, -1, (1,)), Buffer(1, 0, ()), Buffer(1, 1, ()))
    inputs = RematProblem(2, buffers, (1, 1), 5, inputs_in_arena=True, constant_bytes=2)
    found = explain(inputs)
    assert found is not None
    assert (found.node, found.method, found.needed_bytes) == (None, "inputs", 9)
    assert [t.why for t in found.tensors] == [Why.INPUT] * 2
    assert found.message.startswith("the inputs together need 9 bytes at once, 4 over")
    outputs = RematProblem(
        3, tuple(Buffer(3, v, (), True) for v in range(3)), (1, 1, 1), 8, constant_bytes=1
    )
    found = explain(outputs)
    assert found is not None
    assert (found.node, found.method, found.needed_bytes) == (None, "outputs", 10)
    assert [t.why for t in found.tensors] == [Why.OUTPUT] * 3
    assert found.message.startswith("the outputs together need 10 bytes at once, 2 over")
