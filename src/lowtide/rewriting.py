"""Rewrite a model where that lowers the peak of what its runtime will run.

plan of the model as it is ─▶ choose rewrites on the source's graph ─▶ the backend writes the new
model ─▶ it is imported and planned as any other ─▶ kept only if it needs less
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lowtide.errors import InputError, ModelError, PlanError
from lowtide.passes.rewrite.choose import choose, rewritten
from lowtide.passes.rewrite.registry import parse_rewrite
from lowtide.passes.rewrite.tiling import Tiling
from lowtide.planning import plan as make_plan

if TYPE_CHECKING:
    from lowtide.ir import Graph
    from lowtide.passes.plan import Plan
    from lowtide.passes.rewrite.rule import Rewrite
    from lowtide.planning import Planned, Prepared, Progress, Rewritable

__all__ = ["improve", "replay"]

_TILINGS = 3  # sets of regions that are planned


def improve(planned: Planned, progress: Progress | None = None) -> Planned:
    """The plan of the rewritten model where it needs less, else the plan as it was.

    Where a budget is met without repeats, nothing is rewritten: the model is better left alone.
    """
    settings = planned.prepared.settings
    if not settings.rewriting.allowed:
        return planned
    if settings.budget_bytes is not None and planned.within_budget and not _repeats(planned):
        return planned
    source = planned.prepared.rewritable()
    if source is None:
        return planned
    return _in_tiles(_by_rules(planned, source, progress), source, progress)


def _by_rules(planned: Planned, source: Rewritable, progress: Progress | None) -> Planned:
    """With the rewrites that are chosen together with the order."""
    settings = planned.prepared.settings
    if progress is not None:
        progress.stage("rewrite")
    try:
        choice = choose(
            source.graph,
            source.dialect,
            source.accounting,
            settings.rewriting.allowed,
            budget_bytes=_for_tensors(planned),
            seed=settings.seed,
        )
        planned = replace(planned, refused=choice.refused)
        if not choice.rewrites:
            return planned
        found = _planned(planned, source, choice.rewrites, progress)
    except (ModelError, InputError) as error:
        return _noted(planned, f"the model is not rewritten: {error}")
    if _better(found, planned):
        return found
    before, after = choice.peak_before_bytes, choice.peak_after_bytes
    return _noted(
        planned,
        f"rewrites that lower the peak of the model's own graph from {before:,} to {after:,} bytes "
        f"do not lower that of the graph which runs: it is not rewritten",
    )


def _for_tensors(planned: Planned) -> int | None:
    """The budget without what is beside the tensors and their scratch, as in TFLM's arena."""
    budget = planned.prepared.settings.budget_bytes
    if budget is None:
        return None
    tensors = max(planned.timeline.peak_bytes, planned.plan.arena_bytes or 0)
    return max(1, budget - max(0, planned.prepared.needed(planned) - tensors))


def _in_tiles(planned: Planned, source: Rewritable, progress: Progress | None) -> Planned:
    """With regions run tile by tile where that needs less.

    The sets of regions that are best by estimate are planned as any other model, on top of the
    rewrites that there are. With a budget, the one with the least extra work that meets it is
    taken.
    """
    settings = planned.prepared.settings
    origin = planned.unrewritten or planned
    if source.limits is None or not settings.rewriting.tiles:
        return planned
    if _repeats(planned) or _repeats(origin):
        return planned
    if settings.budget_bytes is not None and planned.within_budget:
        return planned
    if progress is not None:
        progress.stage("run in tiles")
    rule = Tiling(source.limits)
    best = planned
    try:
        done = tuple(map(parse_rewrite, planned.plan.rewrites))
        edited = rewritten(source.graph, source.dialect, done)
        choices = rule.choices(edited, source.dialect)[:_TILINGS]
        if settings.budget_bytes is not None:
            choices = tuple(sorted(choices, key=lambda each: each.extra_work))
        for each in choices:
            found = _planned(origin, source, (*done, *rule.rewrites(each)), progress)
            if found.prepared.needed(found) < best.prepared.needed(best):
                best = found
            if settings.budget_bytes is not None and best.within_budget:
                break
    except (ModelError, InputError) as error:
        return _noted(best, f"no tiles were tried any more: {error}")
    return best


def _planned(
    origin: Planned,
    source: Rewritable,
    rewrites: tuple[Rewrite, ...],
    progress: Progress | None,
) -> Planned:
    """The rewritten model planned like any other.

    It is written in the source's order, as a saved plan has it: orders are found again.
    """
    graph = rewritten(source.graph, source.dialect, rewrites)
    prepared = _prepared(origin.prepared, source, graph, tuple(map(str, rewrites)))
    return replace(
        make_plan(prepared, progress),
        unrewritten=origin,
        more_flops=_more_flops(source.graph, graph),
        refused=origin.refused,
    )


def replay(prepared: Prepared, plan: Plan) -> Planned:
    """A saved plan with rewrites, for the model that it was made for.

    Raises:
        PlanError: a rewrite does not apply, or the target rewrites no models.
    """
    source = prepared.rewritable()
    if source is None:
        raise PlanError(f"the plan has rewrites, which the target {prepared.settings.target} lacks")
    named = [parse_rewrite(text) for text in plan.rewrites]
    graph = rewritten(source.graph, source.dialect, named)
    adopted = _prepared(prepared, source, graph, plan.rewrites).adopt(plan)
    more = _more_flops(source.graph, graph)
    return replace(adopted, unrewritten=prepared.keep_default_order(), more_flops=more)


def _prepared(
    prepared: Prepared, source: Rewritable, graph: Graph, rewrites: tuple[str, ...]
) -> Prepared:
    """The rewritten model, prepared; it is still the source's, whose outputs it has to give."""
    return replace(source.rebuilt(graph), source=prepared.source, rewrites=rewrites)


def _better(found: Planned, planned: Planned) -> bool:
    """Whether the rewritten model is the one to write."""
    if found.within_budget and planned.within_budget and planned.prepared.settings.budget_bytes:
        return _repeats(found) < _repeats(planned)
    return found.prepared.needed(found) < planned.prepared.needed(planned)


def _more_flops(before: Graph, after: Graph) -> float:
    """The operations that rewrites add, as a part of those that there were."""
    once = sum(op.flops for op in before.ops)
    return (sum(op.flops for op in after.ops) - once) / max(once, 1)


def _repeats(planned: Planned) -> int:
    return len(planned.order) - len(planned.prepared.graph)


def _noted(planned: Planned, note: str) -> Planned:
    return replace(planned, notes=(*planned.notes, note))
