"""An example of what third parties can plug in: a pass, a scheduler and a frontend.

pip install ./examples/plugin
optimize --peak-mem model.onnx --pipeline "note{text=hello},schedule{solver=last_first}"
lowtide analyze model.toy
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.ir import Graph, parse
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from lowtide.passes import State
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["Note", "last_first", "read_toy"]


@dataclass(frozen=True, slots=True)
class Note:
    """A pass: leaves a mark among the plan's rewrites."""

    text: str = "seen"

    def __call__(self, state: State) -> State:
        """The state with the mark."""
        return state.with_plan(replace(state.plan, rewrites=(*state.plan.rewrites, self.text)))


def last_first(
    problem: ScheduleProblem,
    *,
    time_limit_s: float | None = None,
    seed: int = 0,
    start: Sequence[tuple[int, ...]] = (),
    progress: Callable[[int | None, int], None] | None = None,
) -> ScheduleSolution:
    """A scheduler: of the ready nodes always the last. Its only bound is zero."""
    del time_limit_s, seed, start, progress
    missing = [len(before) for before in problem.predecessors]
    ready = [node for node, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        ready.sort()
        node = ready.pop()
        order.append(node)
        for after in problem.successors[node]:
            missing[after] -= 1
            if not missing[after]:
                ready.append(after)
    peak = peak_of(problem, order)
    status = Status.OPTIMAL if peak == 0 else Status.FEASIBLE
    return ScheduleSolution(status, peak, 0, tuple(order), method="last_first")


def read_toy(path: Path) -> Graph:
    """A frontend: `.toy` files hold Lowtide's own text form."""
    return parse(path.read_text(encoding="utf-8"))
