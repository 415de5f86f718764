"""Pack the buffers of one execution order: an offset for every tensor, around TFLM's scratch.

TFLM places scratch by itself, after the tensors whose offsets are given, greatest first, each in
the first gap (`planner`). So room is planned for it. A single scratch buffer takes the first gap
that holds it, which begins no higher than the room that was planned: it ends within the plan.
Several in one scope may be put so that the last does not fit; then they are planned as one block:
those that do not go elsewhere follow one another in it, and no gap of it is lost. The height that
is stated is that of the simulated planner, never that of the packing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lowtide.backends.tflite.tflm.check import check_offsets
from lowtide.backends.tflite.tflm.elide import find_elision
from lowtide.backends.tflite.tflm.in_place import Kernels, shareable
from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT, arena_buffers
from lowtide.backends.tflite.tflm.metadata import METADATA, encode_offsets
from lowtide.backends.tflite.tflm.planner import ONLINE, place_greedily
from lowtide.backends.tflite.tflm.rigid import lay_out_groups
from lowtide.errors import LowtideError, PlanError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.exact import ExactAllocationOptions, allocate
from lowtide.solvers.allocation.problem import AllocationProblem, Block

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.backends.tflite.tflm.elide import Elision
    from lowtide.backends.tflite.tflm.lifetimes import ArenaBuffer
    from lowtide.frontends.tflite import TfliteModel

__all__ = ["OfflinePlan", "greedy_head", "plan_offsets"]

_MAX_BUFFERS = 10_000  # TFLM's planner, which is simulated, is quadratic
_GROUP_WORK = 3_000_000  # of the packing of rigid groups: a few seconds


@dataclass(frozen=True, slots=True)
class OfflinePlan:
    """Offsets for TFLM, checked.

    Attributes:
        offsets: of every tensor over all subgraphs; -1 for what is not in the arena.
        head_bytes: the arena's head with this plan, scratch included.
        lower_bound_bytes: no layout of this order has a lower head, be it with all of the in-place
            results that the order allows or with none.
        greedy_bytes: the head of this order when TFLM plans by itself.
        in_place: (result, operand) tensors of the main subgraph that share an offset.
        metadata: the name and the bytes for `emit`.
    """

    offsets: tuple[int, ...]
    head_bytes: int
    lower_bound_bytes: int
    greedy_bytes: int
    in_place: tuple[tuple[int, int], ...]
    metadata: Mapping[str, bytes]

    @property
    def optimal(self) -> bool:
        """The head is the least possible for this order."""
        return self.head_bytes == self.lower_bound_bytes


def greedy_head(
    model: TfliteModel,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    order: Sequence[int] | None = None,
) -> int:
    """The head that TFLM gives a model without a plan, in the file's order or another one."""
    buffers = arena_buffers(model, scratch, _orders(order))
    _limit(buffers)
    return place_greedily(buffers).height


def plan_offsets(
    model: TfliteModel,
    *,
    scratch: Mapping[tuple[int, int], Sequence[int]],
    order: Sequence[int] | None = None,
    kernels: Kernels = Kernels.REFERENCE,
    in_place: bool = True,
    overwrite_inputs: bool = False,
    elide: bool = True,
    time_limit_s: float | None = 10.0,
    work_limit: int | None = 40_000_000,
    seed: int = 0,
) -> OfflinePlan:
    """The lowest layout found of one order of the main subgraph's operators.

    Never higher than what TFLM finds for that order by itself. The result was checked by
    `check_offsets`. Repeatable, unless the time limit strikes.

    Args:
        model: a checked model.
        scratch: of its kernels, by (subgraph, operator).
        order: of the main subgraph's operators, by index in the file; the file's by default.
        kernels: the library whose in-place whitelist holds.
        in_place: whether results may be written over operands.
        overwrite_inputs: whether they may be written over the graph's inputs too.
        elide: whether slices may lie in their operands, and parts in their concatenations; they do
            where the head is then lower.
        time_limit_s: of the packing; None for none.
        work_limit: of the packing, in looks at a buffer; None for none.
        seed: of the packer.

    Raises:
        PlanError: the order is no permutation of the operators, or there are too many buffers.
        ModelError: subgraphs call each other in a circle.
    """
    if order is not None and sorted(order) != list(range(len(model.subgraphs[0].operators))):
        raise PlanError("the order is not a permutation of the main subgraph's operators")
    orders = _orders(order)
    buffers = arena_buffers(model, scratch, orders)
    _limit(buffers)
    sequence = orders.get(0, range(len(model.subgraphs[0].operators)))
    pairs: list[tuple[int, int]] = []
    if in_place:
        pairs = _pairs(model, buffers, sequence, kernels, overwrite_inputs=overwrite_inputs)
    base = [0]
    for subgraph in model.subgraphs:
        base.append(base[-1] + len(subgraph.tensors))
    places = {(b.subgraph, b.tensor): index for index, b in enumerate(buffers) if not b.is_scratch}
    greedy = place_greedily(buffers)
    linked = {places[0, result]: places[0, operand] for result, operand in pairs}
    elision = find_elision(model, kernels) if elide else None
    effort = _Effort(time_limit_s, ExactAllocationOptions(work_limit=work_limit), seed)
    found: _Found | None = None
    bound: int | None = None
    if elision:
        found = _elided(model, buffers, sequence, pairs, elision, effort)
        bound = found.bound
    if found is None or found.height > _least(buffers, linked):
        apart = _search(buffers, linked, effort)
        bound = apart.bound if bound is None else min(bound, apart.bound)
        if found is None or apart.height <= found.height:
            found = apart
    height, planned = found.height, found.planned
    if height > greedy.height:  # the packing did not end: TFLM's own layout
        planned = [
            ONLINE if b.is_scratch else o for b, o in zip(buffers, greedy.offsets, strict=True)
        ]
        height = place_greedily(buffers, planned).height
    offsets = [ONLINE] * base[-1]
    for buffer, offset in zip(buffers, planned, strict=True):
        if not buffer.is_scratch:
            offsets[base[buffer.subgraph] + buffer.tensor] = offset
    checked = check_offsets(
        model,
        offsets,
        scratch=scratch,
        orders=orders,
        kernels=kernels,
        overwrite_inputs=overwrite_inputs,
    )
    if checked.head_bytes != height:
        raise LowtideError(
            f"planned {height} bytes, the check finds {checked.head_bytes}: please report this"
        )
    return OfflinePlan(
        offsets=tuple(offsets),
        head_bytes=height,
        lower_bound_bytes=height if bound is None else min(height, bound),
        greedy_bytes=greedy.height,
        in_place=tuple((result, operand) for _, result, operand in checked.shared),
        metadata={METADATA: encode_offsets(model, offsets)},
    )


def _orders(order: Sequence[int] | None) -> dict[int, Sequence[int]]:
    return {} if order is None else {0: tuple(order)}


def _limit(buffers: Sequence[ArenaBuffer]) -> None:
    if len(buffers) > _MAX_BUFFERS:
        raise PlanError(f"the model has {len(buffers)} buffers, over {_MAX_BUFFERS}")


def _pairs(
    model: TfliteModel,
    buffers: Sequence[ArenaBuffer],
    order: Sequence[int],
    kernels: Kernels,
    *,
    overwrite_inputs: bool,
) -> list[tuple[int, int]]:
    """(result, operand) of every operator that takes over a dying operand's buffer, in this order.

    The same rule as the graph's simulator: the first candidate whose operand has no later reader;
    results that are handed to the caller have buffers of their own.
    """
    main = model.subgraphs[0]
    spans = {b.tensor: b for b in buffers if b.subgraph == 0 and not b.is_scratch}
    found: list[tuple[int, int]] = []
    for index in order:
        operator = main.operators[index]
        for position in shareable(main, operator, kernels, overwrite_inputs=overwrite_inputs):
            result, operand = operator.outputs[0], operator.inputs[position]
            if result in main.outputs or result not in spans or operand not in spans:
                continue
            if spans[operand].last == spans[result].first:
                found.append((result, operand))
                break
    return found


def _elided(
    model: TfliteModel,
    buffers: Sequence[ArenaBuffer],
    order: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    elision: Elision,
    effort: _Effort,
) -> _Found:
    """The lowest layout with slices in their operands and parts in their concatenations."""
    involved = elision.involved
    plain = [
        (result, operand)
        for result, operand in pairs
        if operand not in involved and result not in elision.views
    ]
    found = [
        lay_out_groups(
            model,
            buffers,
            order,
            chosen,
            elision,
            time_limit_s=effort.time_limit_s,
            work_limit=min(_GROUP_WORK, effort.options.work_limit or _GROUP_WORK),
            seed=effort.seed,
        )
        for chosen in ([plain, []] if plain else [[]])
    ]
    best = min(found, key=lambda layout: layout.height)
    return _Found(best.planned, best.height, min(layout.bound for layout in found))


def _least(buffers: Sequence[ArenaBuffer], linked: Mapping[int, int]) -> int:
    """No layout of `_search` is lower."""
    return min(
        lower_bound(_problem(buffers, links, joined=False)[0])
        for links in ([linked, {}] if linked else [{}])
    )


class _Effort(NamedTuple):
    time_limit_s: float | None
    options: ExactAllocationOptions
    seed: int


class _Found(NamedTuple):
    """Offsets of the buffers (scratch online), the height that TFLM makes of them, and a bound."""

    planned: list[int]
    height: int
    bound: int


def _search(buffers: Sequence[ArenaBuffer], linked: Mapping[int, int], effort: _Effort) -> _Found:
    """The lowest layout: with the in-place pairs, and if that is not at its bound without them."""
    several = len({b.first for b in buffers if b.is_scratch}) < sum(b.is_scratch for b in buffers)
    unused = max((b.nbytes for b in buffers if b.last < 0), default=0)  # each lies somewhere
    best: _Found | None = None
    bounds: list[int] = []
    for links in [linked, {}] if linked else [{}]:
        for joined in [False, True] if several else [False]:
            problem, members = _problem(buffers, links, joined=joined)
            solution = allocate(
                problem,
                time_limit_s=effort.time_limit_s,
                seed=effort.seed,
                options=effort.options,
            )
            if not joined:  # scratch in one block is a choice, and bounds nothing
                bounds.append(max(solution.lower_bound, unused))
            planned = _planned(buffers, members, solution.offsets or (0,) * len(members))
            height = place_greedily(buffers, planned).height
            if solution.offsets is not None and (best is None or height < best.height):
                best = _Found(planned, height, 0)
            if best is not None and best.height <= min(bounds):
                return best._replace(bound=min(bounds))
    if best is None:  # not even a greedy layout within the time limit
        greedy = place_greedily(buffers)
        planned = [
            ONLINE if b.is_scratch else o for b, o in zip(buffers, greedy.offsets, strict=True)
        ]
        best = _Found(planned, place_greedily(buffers, planned).height, 0)
    return best._replace(bound=min(bounds))


def _problem(
    buffers: Sequence[ArenaBuffer], links: Mapping[int, int], *, joined: bool
) -> tuple[AllocationProblem, list[list[int]]]:
    """Blocks and the buffers in each. `links` puts a buffer into another's block."""
    host = list(range(len(buffers)))
    for index in sorted(links, key=lambda i: buffers[i].first):
        host[index] = host[links[index]]
    if joined:
        first: dict[int, int] = {}
        for index, buffer in enumerate(buffers):
            if buffer.is_scratch:
                host[index] = first.setdefault(buffer.first, index)
    groups: dict[int, list[int]] = {}
    for index, buffer in enumerate(buffers):
        if buffer.first >= 0 or buffer.last >= 0:  # what nothing uses holds nothing
            groups.setdefault(host[index], []).append(index)
    blocks: list[Block] = []
    for number, group in groups.items():
        sizes = [buffers[i].nbytes for i in group]
        blocks.append(
            Block(
                str(number),
                min(buffers[i].first for i in group) + 1,
                max(buffers[i].last for i in group) + 2,
                sum(sizes) if buffers[number].is_scratch else max(sizes),
            )
        )
    return AllocationProblem(tuple(blocks), ALIGNMENT), list(groups.values())


def _planned(
    buffers: Sequence[ArenaBuffer], members: Sequence[Sequence[int]], offsets: Sequence[int]
) -> list[int]:
    """The offset of every buffer; scratch is TFLM's, and what nothing uses lies at 0."""
    planned = [ONLINE if b.is_scratch else 0 for b in buffers]
    for group, offset in zip(members, offsets, strict=True):
        for index in group:
            if not buffers[index].is_scratch:
                planned[index] = offset
    return planned
