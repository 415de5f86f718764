"""`blocks`: repeated blocks are planned once, and their plans composed; for graphs of 10,000 ops.

    1. the blocks of the graph, and which are alike                          (structure.py)
    2. one of each kind: plans that keep less and less across the turn, each by a short `search`
    3. a dynamic program picks one plan for each block
    4. `search` polishes the whole

**A block's problem.**  Its forward ops, one op T that stands for all between its two parts, and
its backward ops.  What it reads of others' forward results is made by an op in front, which may not
run again; gradients that arrive are made by T; what others read forward is read by T.  T may not
run again either.  With scratch memory for T so that only K bytes more fit the budget, its plans
keep at most K bytes across T.  The budget is what the block needs at its own worst when it keeps
all.

**The composition.**  Block i with plan o keeps k(i, o) across the turn, needs m(i, o) at its worst
and costs c(i, o).  While it runs, forward or backward, the blocks before it keep theirs:

    minimise  sum of c(i, o_i)   with   k(1, o_1) + .. + k(i - 1, o_{i - 1}) + m(i, o_i) <= room

over the bytes kept so far, in buckets, rounded up: O(blocks x plans x buckets).  Plans follow one
another as the parts do.  Each op of the graph is in them, after all that it reads, so the sequence
is valid.  What the blocks' problems leave out (outputs, what is kept for others) shows in its peak:
the room is corrected by what that is off the budget, and the program is solved again, a few times.

It is a heuristic for a start: nothing is proven by it, and a block never leaves out its operands
from other blocks.  Graphs in which few blocks are alike, and the stages of the input order, are
left to `search` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lowtide.solvers.remat.check import peak_of
from lowtide.solvers.remat.conclude import Clock
from lowtide.solvers.remat.problem import OrderScope, RematProblem
from lowtide.solvers.remat.search import SearchOptions, search
from lowtide.solvers.remat.structure import alike, read_elsewhere, structure_of
from lowtide.solvers.schedule.problem import Buffer, InPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from lowtide.solvers.remat.problem import Cost
    from lowtide.solvers.remat.solution import RematSolution
    from lowtide.solvers.remat.structure import Block, Structure

__all__ = ["BlockPlan", "blocks", "compose", "composed", "plans_of", "repeated_start"]

_LEVELS = 8  # plans of a block: this part less for each
_WORK = 1_000_000  # of the search for one plan
_MOST_KINDS = 64  # the kinds with the most ops are planned; others keep all
_BUCKETS = 2048
_ROUNDS = 6
_PART = 0.5  # of the time, for all but the polish


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """One way to run a block: its nodes by their place in `Block`, before and behind the turn."""

    forward: tuple[int, ...]
    backward: tuple[int, ...]
    kept_bytes: int
    peak_bytes: int
    extra: float


def blocks(
    problem: RematProblem,
    *,
    scope: OrderScope = OrderScope.FREE,
    time_limit_s: float | None = 30.0,
    seed: int = 0,
    progress: Callable[[Cost | None, Cost], None] | None = None,
) -> RematSolution:
    """What `search` makes of the composed plans of the blocks.

    Args:
        problem: what to run, and within which budget.
        scope: the fixed order is left to `search`.
        time_limit_s: wall time; None for the search's own limit of work.
        seed: of every search.
        progress: called with the incumbent's cost and a bound.
    """
    clock = Clock(time_limit_s)
    start: tuple[tuple[int, ...], ...] = ()
    if scope is OrderScope.FREE and peak_of(problem, problem.order) > problem.budget_bytes:
        found = repeated_start(problem, clock=clock, seed=seed)
        start = () if found is None else (found,)
    solution = search(
        problem,
        scope=scope,
        time_limit_s=clock.left,
        seed=seed,
        start=start,
        progress=progress,
        options=SearchOptions(warm=bool(start)),
    )
    return replace(solution, seconds=clock.seconds, cpu_seconds=clock.cpu_seconds)


def repeated_start(problem: RematProblem, *, clock: Clock, seed: int) -> tuple[int, ...] | None:
    """A sequence of composed plans, within the budget or near it.

    None where few blocks are alike (planning them would take longer than it saves), or where no
    composition is found.
    """
    structure = structure_of(problem)
    keys = alike(problem, structure)
    if 2 * len(set(keys)) > len(keys):
        return None
    return composed(problem, structure, clock=clock, seed=seed)


def compose(choices: Sequence[Sequence[BlockPlan]], room: int) -> list[int] | None:
    """For each block the number of its plan; None if the room does not suffice. See the module."""
    unit = max(1, -(-room // _BUCKETS))
    count = max(0, room) // unit + 1
    cheapest = np.full(count, np.inf)  # by the units kept so far
    cheapest[0] = 0.0
    chosen = np.full((len(choices), count), -1, dtype=np.int16)
    for i, plans in enumerate(choices):
        following = np.full(count, np.inf)
        for o, plan in enumerate(plans):
            kept = -(-plan.kept_bytes // unit)
            reach = min((room - plan.peak_bytes) // unit + 1, count - kept)
            if reach <= 0:
                continue
            values = np.full(count, np.inf)
            values[kept : kept + reach] = cheapest[:reach] + plan.extra
            better = values < following
            following[better] = values[better]
            chosen[i, better] = o
        cheapest = following
    at = int(np.argmin(cheapest))
    if not np.isfinite(cheapest[at]):
        return None
    result: list[int] = []
    for i in range(len(choices) - 1, -1, -1):
        result.append(int(chosen[i, at]))
        at -= -(-choices[i][result[-1]].kept_bytes // unit)
    return result[::-1]


def plans_of(
    problem: RematProblem,
    structure: Structure,
    block: Block,
    *,
    levels: int = _LEVELS,
    seed: int = 0,
) -> list[BlockPlan]:
    """Plans of a block that keep less and less; the first repeats nothing."""
    alone = _alone(problem, structure, block)
    turn = len(block.forward) + 1
    worst = peak_of(alone, alone.order)
    plans = [_plan(alone, turn, alone.order, worst)]
    touched = sum(b.size for b in alone.buffers if turn in (b.producer, *b.consumers))
    known = alone.order
    for level in range(levels - 1, -1, -1):
        kept = plans[0].kept_bytes * level // levels
        scratch = [0] * alone.num_nodes if not alone.workspace else list(alone.workspace)
        scratch[turn] = max(0, worst - touched - kept)
        limited = replace(alone, workspace=tuple(scratch), budget_bytes=worst)
        found = search(
            limited,
            time_limit_s=None,
            seed=seed,
            start=(known,),
            options=SearchOptions(work_limit=_WORK, schedule=False, cover=False),
        )
        if found.sequence is None:
            break
        known = found.sequence
        plan = _plan(alone, turn, known, peak_of(alone, known))
        if plan.kept_bytes < plans[-1].kept_bytes:
            plans.append(plan)
    return plans


def _alone(problem: RematProblem, structure: Structure, block: Block) -> RematProblem:
    """The block's problem: 0 makes what comes from elsewhere, the turn stands between the parts."""
    turn = len(block.forward) + 1
    number = {v: k + 1 for k, v in enumerate(block.forward)}
    number |= {v: turn + 1 + k for k, v in enumerate(block.backward)}
    count = turn + 1 + len(block.backward)
    at: dict[int, int] = {}
    buffers: list[Buffer] = []
    lists = (structure.reads, structure.makes)
    for index in dict.fromkeys(b for v in number for some in lists for b in some[v]):
        buffer = problem.once.buffers[index]
        readers = {number[c] for c in buffer.consumers if c in number}
        output = buffer.output
        if buffer.producer in number:
            producer = number[buffer.producer]
            elsewhere = read_elsewhere(problem, structure.turn, index, number)
            if producer < turn and elsewhere.forward:
                readers.add(turn)
            output = output or elsewhere.backward
        elif buffer.producer < 0:
            continue  # it is there all the time
        else:
            producer = turn if problem.position[buffer.producer] > structure.turn else 0
        at[index] = len(buffers)
        buffers.append(Buffer(buffer.size, producer, tuple(sorted(readers)), output))
    workspace = [0] * count
    costs: list[Cost] = [0] * count
    for v, k in number.items():
        workspace[k] = problem.once.workspace[v] if problem.once.workspace else 0
        costs[k] = problem.costs[v]
    return RematProblem(
        num_nodes=count,
        buffers=tuple(buffers),
        costs=tuple(costs),
        budget_bytes=0,
        workspace=tuple(workspace),
        # The turn comes between the parts, whether anything passes it or not.
        precedence=(
            *((k, turn) for k in range(turn)),
            *((turn, k) for k in range(turn + 1, count)),
            *((number[a], number[b]) for a, b in problem.precedence if {a, b} <= number.keys()),
        ),
        in_place=tuple(
            InPlace(number[c.node], at[c.output], at[c.input])
            for c in problem.in_place
            if c.node in number and c.output in at and c.input in at
        ),
        pinned=tuple(sorted({0, turn, *(number[v] for v in problem.pinned if v in number)})),
    )


def _plan(alone: RematProblem, turn: int, sequence: tuple[int, ...], peak: int) -> BlockPlan:
    """A sequence of the block's problem as a plan."""
    at = sequence.index(turn)
    made = set(sequence[:at])
    following: dict[int, int] = {}  # of a node, its first run behind the turn
    for k in range(len(sequence) - 1, at, -1):
        following[sequence[k]] = k
    end = len(sequence)
    kept = 0
    for buffer in alone.buffers:
        # What the turn reads belongs to the blocks that read it behind this one.
        if buffer.producer in made and turn not in buffer.consumers:
            use = min((following.get(c, end) for c in buffer.consumers), default=end)
            again = following.get(buffer.producer, end)
            kept += buffer.size * (use < again or (use == again == end and buffer.output))
    once = float(sum(alone.costs))
    return BlockPlan(
        tuple(v for v in sequence[:at] if v),
        sequence[at + 1 :],
        kept,
        peak,
        float(sum(alone.costs[v] for v in sequence)) - once,
    )


def composed(
    problem: RematProblem, structure: Structure, *, clock: Clock, seed: int = 0
) -> tuple[int, ...] | None:
    """A sequence from the plans of all blocks, within the budget or not.

    None where there are no two blocks, or no plans fit. Half of the clock's time goes to planning
    at most; what is left then repeats nothing.
    """
    if len(structure.blocks) < 2:
        return None
    keys = alike(problem, structure)
    kinds: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        kinds.setdefault(key, []).append(i)
    size = {k: len(structure.blocks[i[0]].forward) * len(i) for k, i in kinds.items()}
    left = clock.left
    until = None if left is None else clock.seconds + _PART * left
    plans: dict[Hashable, list[BlockPlan]] = {}
    for number, key in enumerate(sorted(kinds, key=lambda k: -size[k])):
        search_it = number < _MOST_KINDS and (until is None or clock.seconds < until)
        block = structure.blocks[kinds[key][0]]
        levels = _LEVELS if search_it else 0
        plans[key] = plans_of(problem, structure, block, levels=levels, seed=seed)
    choices = [plans[key] for key in keys]
    room = problem.budget_bytes - problem.constant_bytes
    best: tuple[int, ...] | None = None
    within = False
    for _ in range(_ROUNDS):
        picks = compose(choices, room)
        if picks is None:
            break
        found = _joined(structure, choices, picks)
        spare = problem.budget_bytes - peak_of(problem, found)
        cheaper = best is None or problem.cost_of(found) < problem.cost_of(best)
        if spare >= 0 and (not within or cheaper):
            best, within = found, True
        elif not within:
            best = found
        elif spare < 0 or not cheaper:
            break
        if not spare:
            break
        room += spare
    return best


def _joined(
    structure: Structure, choices: Sequence[Sequence[BlockPlan]], picks: Sequence[int]
) -> tuple[int, ...]:
    sequence: list[int] = []
    parts = list(zip(structure.blocks, choices, picks, strict=True))
    for block, plans, pick in parts:
        sequence += [block.forward[k - 1] for k in plans[pick].forward]
    for block, plans, pick in reversed(parts):
        behind = len(block.forward) + 2
        for k in plans[pick].backward:
            sequence.append(block.forward[k - 1] if k < behind else block.backward[k - behind])
    return tuple(sequence)
