"""Why no plan can meet a budget: the op and the tensors that need more than it at once.

The witness of the peak's bound (`bounds.py`), spelled out: at the named run, in every sequence, the
listed tensors are live, whatever is run again.  A budget may be impossible for other reasons (by a
search, or as nothing that may be repeated is of use); then there is no such witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lowtide.solvers.remat.bounds import kept_beside, peak_witness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["Infeasibility", "Needed", "Why", "explain"]


class Why(StrEnum):
    """Why a tensor is live then."""

    READ = "read"  # by the op
    MADE = "made"  # by the op
    KEPT = "kept"  # needed later, or an output; and it cannot be made again
    INPUT = "input"  # at the start
    OUTPUT = "output"  # at the end


@dataclass(frozen=True, slots=True)
class Needed:
    """A tensor that is live then.

    Attributes:
        buffer: its index.
        size_bytes: rounded up to the problem's alignment.
        why: it has to be there.
        name: of the buffer, where names are known.
    """

    buffer: int
    size_bytes: int
    why: Why
    name: str = ""


@dataclass(frozen=True, slots=True)
class Infeasibility:
    """What takes more than the budget at once, in every sequence.

    Attributes:
        budget_bytes: what there is.
        needed_bytes: what it takes: tensors, workspace and constant memory, less what may be
            overwritten.
        method: the argument, as `peak_bound` names it.
        node: whose run it is; None for the start (inputs) or the end (outputs).
        tensors: the largest first.
        workspace_bytes: of the node.
        constant_bytes: part of every peak.
        overwritten_bytes: of what the node makes, as much as it may write over its operands.
        node_name: where names are known.
    """

    budget_bytes: int
    needed_bytes: int
    method: str
    node: int | None
    tensors: tuple[Needed, ...]
    workspace_bytes: int = 0
    constant_bytes: int = 0
    overwritten_bytes: int = 0
    node_name: str = ""

    @property
    def excess_bytes(self) -> int:
        """How much is missing."""
        return self.needed_bytes - self.budget_bytes

    @property
    def message(self) -> str:
        """One sentence for the user, with the next step."""
        if self.node is None:
            who = "the inputs together" if self.method == "inputs" else "the outputs together"
            verb = "need"
        else:
            named = f" `{self.node_name}`" if self.node_name else ""
            beside = any(t.why is Why.KEPT for t in self.tensors)
            who = f"op {self.node}{named}{', with what cannot be made again,' if beside else ''}"
            verb = "needs"
        return (
            f"{who} {verb} {self.needed_bytes:,} bytes at once, {self.excess_bytes:,} over the "
            f"budget: raise it to {self.needed_bytes:,} bytes or more"
        )


def explain(
    problem: RematProblem,
    *,
    node_names: Sequence[str] = (),
    buffer_names: Sequence[str] = (),
) -> Infeasibility | None:
    """What forces the peak of every sequence above the budget; None if the bound does not tell.

    Args:
        problem: with the budget in question.
        node_names: of all nodes, in their order; empty for none.
        buffer_names: likewise of buffers; empty for their producers' names.
    """
    needed, method, node = peak_witness(problem)
    if needed <= problem.budget_bytes:
        return None
    buffers, workspace = problem.once.buffers, problem.once.workspace
    why: dict[int, Why] = {}
    for index, buffer in enumerate(buffers):
        if buffer.producer < 0 and not problem.inputs_in_arena:
            continue
        if node < 0 and method == "inputs":
            if buffer.producer < 0 and (buffer.consumers or buffer.output):
                why[index] = Why.INPUT
        elif node < 0:
            if buffer.output:
                why[index] = Why.OUTPUT
        elif buffer.producer == node:
            why[index] = Why.MADE
        elif node in buffer.consumers:
            why[index] = Why.READ
    if method == "one op and what cannot be made again":
        for index, at in kept_beside(problem):
            if at == node:
                why.setdefault(index, Why.KEPT)
    over = {c.output for c in problem.in_place if c.node == node}
    tensors = [
        Needed(index, buffers[index].size, reason, _name(problem, index, node_names, buffer_names))
        for index, reason in why.items()
        if buffers[index].size
    ]
    return Infeasibility(
        budget_bytes=problem.budget_bytes,
        needed_bytes=needed,
        method=method,
        node=None if node < 0 else node,
        tensors=tuple(sorted(tensors, key=lambda t: (-t.size_bytes, t.buffer))),
        workspace_bytes=workspace[node] if workspace and node >= 0 else 0,
        constant_bytes=problem.constant_bytes,
        overwritten_bytes=sum(buffers[index].size for index in over),
        node_name=node_names[node] if node_names and node >= 0 else "",
    )


def _name(
    problem: RematProblem, index: int, node_names: Sequence[str], buffer_names: Sequence[str]
) -> str:
    if buffer_names:
        return buffer_names[index]
    producer = problem.buffers[index].producer
    return node_names[producer] if node_names and producer >= 0 else ""
