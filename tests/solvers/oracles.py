"""Brute force, for small problems. Shares nothing with the solvers but the checker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.schedule.check import peak_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowtide.solvers.allocation.problem import AllocationProblem
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = [
    "all_orders",
    "best_by_enumeration",
    "best_by_ideals",
    "least_height",
    "least_transients",
]


def all_orders(problem: ScheduleProblem) -> Iterator[tuple[int, ...]]:
    """Every topological order."""

    def extend(order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(order) == problem.num_nodes:
            yield order
        for v in range(problem.num_nodes):
            if v not in order and all(p in order for p in problem.predecessors[v]):
                yield from extend((*order, v))

    return extend(())


def best_by_enumeration(problem: ScheduleProblem) -> int:
    """The least peak over all orders, each judged by the checker. Factorial."""
    return min(peak_of(problem, order) for order in all_orders(problem))


def best_by_ideals(problem: ScheduleProblem) -> int:
    """The least peak, by dynamic programming over ideals from the definition. Exponential."""
    start, costs = _costs(problem)
    n = problem.num_nodes
    best = {0: start}
    for mask in sorted(costs):
        for v, cost in costs[mask].items():
            reached = max(best[mask], cost)
            after = mask | 1 << v
            best[after] = min(best.get(after, reached), reached)
    return best[(1 << n) - 1]


def least_transients(problem: ScheduleProblem) -> list[int]:
    """For every node, its least transient over all ideals at which it can run."""
    _, costs = _costs(problem)
    return [
        min(transients[v] for transients in costs.values() if v in transients)
        for v in range(problem.num_nodes)
    ]


def _costs(problem: ScheduleProblem) -> tuple[int, dict[int, dict[int, int]]]:
    """mem of the empty ideal, and the transient of every ready node at every ideal (a bit mask)."""
    n = problem.num_nodes
    need = [sum(1 << p for p in problem.predecessors[v]) for v in range(n)]
    readers = [sum(1 << c for c in b.consumers) for b in problem.buffers]
    scratch = problem.workspace or (0,) * n

    def live(mask: int) -> int:
        total = 0
        for buffer, mine in zip(problem.buffers, readers, strict=True):
            if buffer.producer < 0 and not problem.inputs_in_arena:
                continue
            if buffer.producer >= 0 and not mask >> buffer.producer & 1:
                continue
            if mine & ~mask or (buffer.output and problem.outputs_live_to_end):
                total += buffer.size
        return total

    costs: dict[int, dict[int, int]] = {}
    stack = [0]
    while stack:
        mask = stack.pop()
        if mask in costs:
            continue
        costs[mask] = {}
        now = live(mask)
        for v in range(n):
            if mask >> v & 1 or need[v] & ~mask:
                continue
            cost = now + scratch[v] + sum(b.size for b in problem.buffers if b.producer == v)
            taken: set[int] = set()
            for node, output, source in problem.in_place:
                operand = problem.buffers[source]
                if (
                    node == v
                    and not readers[source] & ~(mask | 1 << v)
                    and operand.size == problem.buffers[output].size
                    and (operand.producer >= 0 or problem.inputs_in_arena)
                    and not (operand.output and problem.outputs_live_to_end)
                    and source not in taken
                    and output not in taken
                ):
                    taken |= {source, output}
                    cost -= operand.size
            costs[mask][v] = cost
            stack.append(mask | 1 << v)
    return live(0), costs


def least_height(problem: AllocationProblem) -> int | None:
    """The least height over all layouts, every offset tried; None when there is none."""
    blocks = sorted(problem.blocks, key=lambda b: b.offset is None)
    # In a lowest layout every block rests on others, so all of them below it bound its offset.
    most = sum(b.size + problem.alignment + (b.offset or 0) for b in blocks)
    best: int | None = None

    def place(index: int, placed: tuple[int, ...], height: int) -> None:
        nonlocal best
        if best is not None and height >= best:
            return
        if index == len(blocks):
            best = height
            return
        block = blocks[index]
        offsets = range(0, most + 1, problem.alignment)
        for offset in offsets if block.offset is None else (block.offset,):
            free = all(
                block.lower >= other.upper
                or other.lower >= block.upper
                or offset >= at + other.size
                or at >= offset + block.size
                or 0 in (block.size, other.size)
                for other, at in zip(blocks, placed, strict=False)
            )
            if free:
                place(index + 1, (*placed, offset), max(height, offset + block.size))

    place(0, (), 0)
    return best
