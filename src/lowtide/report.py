"""The report of an optimization: `lowtide.report/1` as JSON, and the table for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, cast

from lowtide.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = [
    "SCHEMA",
    "Figures",
    "Live",
    "Measured",
    "PeakOp",
    "Report",
    "budget_figures",
    "measured_rows",
    "render_live",
]

SCHEMA = "lowtide.report/1"

# What was measured, by runtime: the heading and the rows, by the endings of their keys.
_RUNTIMES = {
    "ONNX Runtime": {
        "stock": "stock session (arena on)",
        "before": "same graph, default order",
        "after": "planned",
    },
    "TensorFlow": {"stock": "TensorFlow's own order", "after": "planned"},
    "TensorFlow Lite Micro": {"before": "the file as it was", "after": "planned"},
    "TVM": {"stock": "TVM's own plan", "after": "planned"},
    "C": {"after": "static memory of the program"},
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Bytes in the source order, in the planned one, and proven to be needed."""

    before: int
    after: int
    lower_bound: int


@dataclass(frozen=True, slots=True)
class Live:
    """A tensor that is live at the peak."""

    tensor: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PeakOp:
    """An op at which the peak is reached, and what is live then, largest first."""

    op: str
    live: tuple[Live, ...]


def budget_figures(
    available: int | None, needed: int, floor: int | None = None
) -> dict[str, int] | None:
    """Needed, available, excess (negative is room to spare), and the budget that would do.

    Where recomputation was tried, `floor` is what no sequence can undercut.
    """
    if available is None:
        return None
    found = {
        "needed": needed,
        "available": available,
        "excess": needed - available,
        "fits_at": needed,
    }
    return found if floor is None else {**found, "floor": floor}


@dataclass(frozen=True)
class Report:
    """Everything that is said about one run; docs/formats.md explains every field."""

    model: Mapping[str, object]
    target: str
    versions: Mapping[str, str]
    status: str
    proof: Mapping[str, object]
    accounting: Mapping[str, object]
    peak_bytes: Figures
    arena_bytes: Figures
    breakdown_bytes: Mapping[str, int]
    peak_ops: tuple[PeakOp, ...]
    verification: Mapping[str, object]
    measured: Mapping[str, object]
    seconds: Mapping[str, float]
    budget_bytes: int | None = None
    budget: Mapping[str, int] | None = None
    recomputation: Mapping[str, float] | None = None
    rewriting: Mapping[str, object] | None = None
    obstacle: Mapping[str, object] | None = None
    trade_off: Mapping[str, object] | None = None
    output: str | None = None
    order: Mapping[str, object] = field(default_factory=dict[str, object])
    session: str = ""
    peak_ops_before: tuple[PeakOp, ...] = ()
    timeline_bytes: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The report as JSON-able data."""
        return {"schema": SCHEMA, **asdict(self)}

    def to_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(self.to_dict())

    def render(self, console: Console, *, detail: bool = False) -> None:
        """Print the table for people; `detail` adds what is live at the peak and the timeline."""
        from rich.markup import escape
        from rich.table import Table

        console.print(
            f"[bold]{escape(str(self.model['path']))}[/bold]  "
            f"{self.model['ops']} ops, {self.model['tensors']} tensors, target {self.target}",
            soft_wrap=True,
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("", "before", "after", "lower bound", "saved"):
            table.add_column(column, justify="left" if not column else "right")
        for name, figures in (("peak", self.peak_bytes), ("arena", self.arena_bytes)):
            table.add_row(
                name,
                format_bytes(figures.before),
                f"[bold]{format_bytes(figures.after)}[/bold]",
                format_bytes(figures.lower_bound),
                _saved(figures.before, figures.after),
            )
        console.print(table)
        console.print(f"order: {escape(self.verdict)}")
        self._render_rewriting(console)
        self._render_measured(console)
        self._render_litert(console)
        if self.verification.get("numerics") != "skipped":
            console.print(
                f"verified: outputs {self.verification['numerics']}, "
                f"order {self.verification['order']}"
            )
        if detail:
            self._render_detail(console)
        self._render_trade_off(console)
        for note in self.notes:
            console.print(f"note: {escape(note)}")
        if self.budget is not None:
            met = self.budget["excess"] <= 0
            console.print(
                f"budget: {'met' if met else '[bold red]not met[/bold red]'}: "
                + ", ".join(
                    f"{key.replace('_', ' ')} {value:,}" for key, value in self.budget.items()
                )
            )
            if not met and self.obstacle is not None:
                live = cast("list[Mapping[str, object]]", self.obstacle["live"])
                named = tuple(
                    Live(f"{t['tensor']} ({t['why']})", int(str(t["bytes"]))) for t in live
                )
                where = str(self.obstacle["op"]) or f"the model ({self.obstacle['method']})"
                render_live(console, PeakOp(where, named), "needed at once in every plan")
            if not met:
                for peak in self.peak_ops[:1]:
                    render_live(console, peak, "what forces the peak of the best plan")
        if self.output is not None:
            console.print(f"written: {escape(self.output)}", soft_wrap=True)
            if self.session:
                console.print(f"run it with: {escape(self.session)}", soft_wrap=True)

    @property
    def verdict(self) -> str:
        """How far the plan is proven to be the best, in words."""
        gap = self.peak_bytes.after - self.peak_bytes.lower_bound
        covers = ", ".join(cast("list[str]", self.proof.get("covers", [])))
        with_ = f" (with {covers})" if covers else ""
        if self.recomputation is not None:
            again = self.recomputation
            return (
                f"{again['runs']} runs of ops are repeated to meet the budget, for "
                f"{again['cost_percent']:.1f} % more estimated time"
            )
        if self.status == "optimal":
            return f"optimal: no order of these ops needs less{with_}"
        if not gap and "workspace" not in covers:
            return (
                f"{self.status}: no order needs less{with_}, but not all scratch is known, so "
                f"this is an estimate"
            )
        share = 100 * gap / max(self.peak_bytes.after, 1)
        return f"{self.status}: at most {format_bytes(gap)} ({share:.1f} %) above the least{with_}"

    def _render_measured(self, console: Console) -> None:
        from rich.table import Table

        measured = measured_rows(self.measured)
        if measured is None:
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(f"measured in {measured.runtime}")
        for title in measured.columns:
            table.add_column(title, justify="right")
        for label, values in measured.rows:
            table.add_row(label, *values)
        console.print(table)
        stock, after = self.measured.get("latency_stock"), self.measured.get("latency_after")
        if isinstance(stock, float) and isinstance(after, float) and after > 1.1 * stock:
            console.print(
                f"trade: {100 * (after / stock - 1):.0f} % slower than stock, for the memory above"
            )

    def _render_rewriting(self, console: Console) -> None:
        if self.rewriting is None or not self.rewriting["applied"]:
            return
        counts: dict[str, int] = {}
        for text in cast("list[str]", self.rewriting["applied"]):
            name = text.partition("@")[0]
            counts[name] = counts.get(name, 0) + 1
        applied = ", ".join(f"{name} {count}" for name, count in counts.items())
        line = f"rewritten: {applied}"
        if "peak_without" in self.rewriting:
            peak = format_bytes(int(str(self.rewriting["peak_without"])))
            line += f"; {peak} without, {self.rewriting['flops_percent']} % more operations"
        console.print(line)

    def _render_litert(self, console: Console) -> None:
        """What the same model allocates on a desktop."""
        for key, how in (("litert", "LiteRT on a desktop"), ("litert_xnnpack", "with XNNPACK")):
            before, after = (self.measured.get(f"{key}_{which}") for which in ("before", "after"))
            if isinstance(before, int) and isinstance(after, int):
                console.print(
                    f"{how}: allocates {format_bytes(before)} for the file as it was, "
                    f"{format_bytes(after)} for the result"
                )

    def _render_trade_off(self, console: Console) -> None:
        from rich.table import Table

        if self.trade_off is None:
            return
        points = cast("list[Mapping[str, float]]", self.trade_off["points"])
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("budget", justify="right")
        table.add_column("runs again", justify="right")
        table.add_column("more time", justify="right")
        table.add_column("at least", justify="right")
        for point in points:
            table.add_row(
                f"{point['budget_bytes']:,}",
                f"{point['repeats']:,}",
                f"{point['cost_percent']:.2f} %",
                f"{point['bound_percent']:.2f} %",
            )
        console.print("what budgets cost (estimated):")
        console.print(table)
        console.print(f"no plan is below {self.trade_off['least_bound_bytes']:,} bytes (proven)")

    def _render_detail(self, console: Console) -> None:
        for peak in (self.peak_ops_before or self.peak_ops)[:2]:
            render_live(console, peak, "live at the peak of the source order")
        if self.timeline_bytes:
            console.print("live bytes over the source order:")
            console.print("  " + sparkline(self.timeline_bytes, max(20, console.width - 4)))
        parts = ", ".join(f"{k} {format_bytes(v)}" for k, v in self.breakdown_bytes.items())
        console.print(f"apart from the peak: {parts}")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, as a table: the columns, and for each row its name and their values."""

    runtime: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def measured_rows(measured: Mapping[str, object]) -> Measured | None:
    """The table of a report's `measured`; None where nothing was."""
    runtime = str(measured.get("runtime", "ONNX Runtime"))
    names = _RUNTIMES.get(runtime, {"before": "before", "after": "planned"})
    columns = {"peak": "peak", "required": "arena needed", "latency": "latency"}
    columns = {
        what: title
        for what, title in columns.items()
        if any(measured.get(f"{what}_{row}") is not None for row in names)
    }
    if not columns:
        return None
    arena = measured.get("arena_after")
    within = f" (in one arena of {format_bytes(arena)})" if isinstance(arena, int) else ""
    rows = tuple(
        (
            label + within * (row == "after"),
            tuple(_measure(measured.get(f"{what}_{row}")) for what in columns),
        )
        for row, label in names.items()
    )
    return Measured(runtime, tuple(columns.values()), rows)


def _measure(value: object) -> str:
    """Bytes are whole numbers, seconds are not."""
    if isinstance(value, int):
        return format_bytes(value)
    return f"{1000 * value:.2f} ms" if isinstance(value, float) else "-"


def render_live(console: Console, peak: PeakOp, what: str) -> None:
    """The largest tensors that are live while an op runs, and the sum of the others."""
    from rich.markup import escape
    from rich.table import Table

    console.print(f"{what}, while {escape(peak.op)} runs:", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("tensor")
    table.add_column("bytes", justify="right")
    for live in peak.live[:12]:
        table.add_row(escape(live.tensor), f"{live.bytes:,}")
    if len(peak.live) > 12:
        rest = sum(live.bytes for live in peak.live[12:])
        table.add_row(f"{len(peak.live) - 12} more", f"{rest:,}")
    console.print(table)


def _saved(before: int, after: int) -> str:
    if before in (0, after):
        return "0 %"
    return f"{100 * (before - after) / before:.1f} % ({before / max(after, 1):.2f}x)"


def sparkline(values: tuple[int, ...], width: int) -> str:
    """The values as one line of blocks; with more values than width, each block is a maximum."""
    blocks = " ▁▂▃▄▅▆▇█"
    top = max(values) or 1
    if len(values) > width:
        cells = [
            max(values[i * len(values) // width : max((i + 1) * len(values) // width, 1)] or (0,))
            for i in range(width)
        ]
    else:
        cells = list(values)
    return "".join(blocks[-(-value * (len(blocks) - 1) // top)] for value in cells)
