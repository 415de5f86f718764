"""From a plan and what its execution showed to the report."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.report import Figures, Live, PeakOp, Report, budget_figures

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lowtide.emission import Outcome
    from lowtide.ir import Timeline
    from lowtide.planning import Planned

__all__ = ["build_report"]

_NOT_VERIFIED: dict[str, object] = {
    "numerics": "skipped",
    "max_abs_error": 0.0,
    "order": "not_checked",
}
_NOT_MEASURED: Mapping[str, object] = dict.fromkeys(
    f"{what}_{which}" for what in ("peak", "latency") for which in ("before", "stock", "after")
)


def build_report(
    planned: Planned, outcome: Outcome | None, output: Path | None, *, started: float
) -> Report:
    """The report of one run; `outcome` is None where nothing was executed."""
    prepared, plan = planned.prepared, planned.plan
    settings = prepared.settings
    original = (planned.unrewritten or planned).prepared
    graph = original.graph
    certificate = plan.certificate
    before, after = original.source_order, planned.timeline
    lower_bound = certificate.lower_bound_bytes if certificate else _largest_op(after)
    status = certificate.status if certificate else "feasible"
    arena_after = plan.arena_bytes if plan.arena_bytes is not None else after.peak_bytes
    needed = prepared.needed(planned)
    if outcome is not None and outcome.needed_bytes is not None:
        needed = outcome.needed_bytes
    notes = list(planned.notes)
    if outcome is not None:
        notes.extend(outcome.notes)
    return Report(
        model={
            "path": str(prepared.source.path) if prepared.source.path else "",
            "format": prepared.source.format,
            "ops": len(graph),
            "tensors": len(graph.tensors),
            "sha256": prepared.source.sha256,
        },
        target=settings.target,
        versions={
            "lowtide": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in prepared.packages},
        },
        status=status,
        proof={
            "quantity": certificate.quantity if certificate else "peak",
            "scope": certificate.scope if certificate else "fixed_order",
            "covers": list(certificate.covers) if certificate else [],
            "method": certificate.bound_method if certificate else "trivial",
        },
        accounting=prepared.accounting.to_dict(),
        peak_bytes=Figures(before.peak_bytes, after.peak_bytes, lower_bound),
        arena_bytes=Figures(
            original.arena_before,
            arena_after,
            max(lower_bound, 0),
        ),
        breakdown_bytes=prepared.breakdown,
        peak_ops=_peak_ops(after),
        verification=outcome.verification if outcome is not None else _NOT_VERIFIED,
        measured=outcome.measured if outcome is not None else _NOT_MEASURED,
        seconds={
            "load": round(prepared.seconds, 3),
            "solve": round(planned.seconds, 3),
            "verify": round(outcome.seconds, 3) if outcome is not None else 0.0,
            "total": round(time.perf_counter() - started, 3),
        },
        budget_bytes=settings.budget_bytes,
        budget=budget_figures(settings.budget_bytes, needed, planned.floor_bytes),
        recomputation=_recomputation(planned),
        rewriting=_rewriting(planned),
        obstacle=_obstacle(planned),
        trade_off=None if planned.trade_off is None else asdict(planned.trade_off),
        output=str(output) if output is not None else None,
        order={
            "method": certificate.method if certificate else "source",
            "level": settings.level,
            "portable": settings.portable,
            "default_order_peak_bytes": original.default_order.peak_bytes,
        },
        session=outcome.session if outcome is not None else "",
        peak_ops_before=_peak_ops(before),
        timeline_bytes=tuple(step.live_bytes for step in before.steps),
        notes=tuple(notes),
    )


def _largest_op(timeline: Timeline) -> int:
    """The trivial bound: what one op holds by itself, its results and its workspace."""
    return (
        max(
            (step.workspace_bytes + sum(t.nbytes for t in step.op.outputs if t.alias is None))
            for step in timeline.steps
        )
        if timeline.steps
        else timeline.peak_bytes
    )


def _peak_ops(timeline: Timeline) -> tuple[PeakOp, ...]:
    """The ops at which the peak is reached, the first eight, each with all that is live."""
    found: list[PeakOp] = []
    for index, step in enumerate(timeline.steps):
        if step.live_bytes != timeline.peak_bytes:
            continue
        live = [Live(b.tensors[-1].name, b.nbytes) for b in timeline.live_at(index)]
        if step.workspace_bytes:
            live.append(Live("(workspace)", step.workspace_bytes))
        found.append(PeakOp(step.op.name, tuple(live)))
        if len(found) == 8:
            break
    return tuple(found)


def _obstacle(planned: Planned) -> dict[str, object] | None:
    """The op (or none: the start or the end) and the tensors that force the peak of any plan."""
    found = planned.obstacle
    if found is None:
        return None
    return {
        "op": found.node_name,
        "needed": found.needed_bytes,
        "method": found.method,
        "workspace": found.workspace_bytes,
        "live": [
            {"tensor": each.name, "bytes": each.size_bytes, "why": each.why.value}
            for each in found.tensors
        ],
    }


def _rewriting(planned: Planned) -> dict[str, object] | None:
    """What was rewritten and what that costs, and where rules were refused."""
    if not planned.plan.rewrites and not planned.refused:
        return None
    found: dict[str, object] = {
        "applied": list(planned.plan.rewrites),
        "refused": [asdict(each) for each in planned.refused],
    }
    if planned.unrewritten is not None:
        old, new = planned.unrewritten.prepared, planned.prepared
        found["peak_without"] = planned.unrewritten.timeline.peak_bytes
        found["flops_percent"] = round(100 * planned.more_flops, 3)
        found["weights_bytes"] = new.breakdown["weights"] - old.breakdown["weights"]
    return found


def _recomputation(planned: Planned) -> dict[str, float] | None:
    """How many runs are repeats, and what they cost, in percent of running every op once."""
    repeats = len(planned.order) - len(planned.prepared.graph)
    if repeats <= 0:
        return None
    costs = {op.name: planned.costs.of(op) for op in planned.prepared.graph.ops}
    once = sum(costs.values())
    again = sum(costs[name] for name in planned.plan.sequence) - once
    return {"runs": repeats, "cost_percent": round(100 * again / max(once, 1), 3)}
