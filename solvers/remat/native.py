"""The native form of a problem."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from lowtide.errors import InstanceError
from lowtide.solvers import _native

if TYPE_CHECKING:
    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["native_problem"]


def native_problem(problem: RematProblem) -> _native.Remat:
    """The problem in the native core's form: precedence as buffers of no bytes. O(problem).

    Raises:
        InstanceError: the live sets of the search would need more than 1 GiB.
    """
    buffers = problem.once.buffers
    counts = [b.producer >= 0 or problem.inputs_in_arena for b in buffers]
    pinned = sorted(problem.pinned, key=problem.position.__getitem__)
    links = sorted({*problem.precedence, *pairwise(pinned)})
    is_pinned = set(problem.pinned)
    try:
        return _native.Remat(
            num_nodes=problem.num_nodes,
            sizes=[b.size if c else 0 for b, c in zip(buffers, counts, strict=True)]
            + [0] * len(links),
            producers=[b.producer for b in buffers] + [before for before, _ in links],
            consumers=[list(b.consumers) for b in buffers] + [[after] for _, after in links],
            outputs=[b.output for b in buffers] + [False] * len(links),
            workspace=list(problem.once.workspace) or [0] * problem.num_nodes,
            costs=[float(cost) for cost in problem.costs],
            pinned=[v in is_pinned for v in range(problem.num_nodes)],
            order=list(problem.order),
            in_place=[
                (c.node, c.output, c.input)
                for c in problem.in_place
                if counts[c.input] and buffers[c.input].size == buffers[c.output].size
            ],
            budget=problem.budget_bytes - problem.constant_bytes,
        )
    except ValueError as error:
        raise InstanceError(f"the {problem.num_nodes} ops cannot be searched: {error}") from error
