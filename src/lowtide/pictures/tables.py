"""The page's tables: the report's figures, what is live at the peak, repeats and rewrites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from lowtide.pictures.names import clipped, safe
from lowtide.pictures.scene import Kind
from lowtide.report import measured_rows
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.pictures.scene import Block, Run, Scene
    from lowtide.report import Figures, Report

__all__ = ["cards", "facts", "figures", "live_table", "notes", "repeats", "rewrites"]

_MOST_ROWS = 60
_LONG = 160


def cards(scene: Scene) -> str:
    """The figures that are asked for first."""
    report = scene.report
    peak, arena = report.peak_bytes, report.arena_bytes
    found = [_card("Peak", _change(peak), _saved(peak.before, peak.after))]
    if not scene.own_allocator:
        found.append(_card("Arena", _change(arena), _saved(arena.before, arena.after)))
    if peak.lower_bound:
        gap = peak.after - peak.lower_bound
        above = f"the peak is {format_bytes(gap)} above"
        text = "no gap: the peak is this bound" if gap <= 0 else above
        found.append(_card("Lower bound", format_bytes(peak.lower_bound), text))
    if report.budget is not None:
        excess = report.budget["excess"]
        text = (
            f"met, {format_bytes(-excess)} to spare"
            if excess <= 0
            else f"not met: {format_bytes(report.budget['needed'])} needed"
        )
        found.append(_card("Budget", format_bytes(report.budget["available"]), text))
    if report.recomputation is not None:
        again = report.recomputation
        cost = f"{again['cost_percent']:.1f} % more estimated time"
        found.append(_card("Runs again", f"{again['runs']:,}", cost))
    return "".join(found)


def _card(title: str, value: str, words: str) -> str:
    return f"<div><dt>{title}</dt><dd>{value}<small>{safe(words)}</small></dd></div>"


def _change(figures: Figures) -> str:
    if figures.before == figures.after:
        return format_bytes(figures.after)
    arrow = '<span aria-hidden="true">→</span><span class="hidden"> to </span>'
    return f"<s>{format_bytes(figures.before)}</s> {arrow} {format_bytes(figures.after)}"


def _saved(before: int, after: int) -> str:
    if before in (0, after):
        return "as before"
    share = 100 * (before - after) / before
    if share < 0:
        return f"{-share:.1f} % more than before"
    return f"{share:.1f} % less ({before / max(after, 1):.2f}x)"


def figures(scene: Scene) -> str:
    """Predicted and measured figures, in bytes exactly."""
    report = scene.report
    predicted = [("peak", report.peak_bytes)]
    if not scene.own_allocator:
        predicted.append(("arena", report.arena_bytes))
    rows = [
        (
            name,
            (
                f"{each.before:,}",
                f"{each.after:,}",
                f"{each.lower_bound:,}" if each.lower_bound else "not known",
            ),
        )
        for name, each in predicted
    ]
    found = _table("Predicted, in bytes", ("", "before", "after", "lower bound"), rows)
    measured = measured_rows(report.measured)
    if measured is not None:
        found += _table(
            f"Measured in {measured.runtime}",
            ("", *measured.columns),
            [(label, list(values)) for label, values in measured.rows],
        )
    return found


def _table(caption: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table whose first column names the rows; the others are numbers."""
    top = "".join(f'<th scope="col">{safe(head)}</th>' if head else "<td></td>" for head in heads)
    body = "".join(
        f'<tr><th scope="row">{safe(name)}</th>'
        + "".join(f"<td>{safe(value)}</td>" for value in values)
        + "</tr>"
        for name, values in rows
    )
    return (
        f"<table><caption>{safe(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def live_table(run: Run, title: str) -> str:
    """Who is live at the peak of a run, largest first, and from when to when."""
    if not run.moments:
        return ""
    at = run.peak_step
    live = run.live_at(at)
    rows = "".join(
        f'<tr><th scope="row" class="name"><span class="swatch {_class(block.kind)}" '
        f'aria-hidden="true"></span>{safe(clipped(block.name_at(at), 96))}'
        f"</th><td>{block.nbytes:,}</td><td>{100 * block.nbytes / max(run.peak_bytes, 1):.1f} %"
        f'</td><td>{_lifetime(block)}</td><td class="word">{block.kind.value}'
        f"</td></tr>"
        for block in live[:_MOST_ROWS]
    )
    if len(live) > _MOST_ROWS:
        rest = sum(block.nbytes for block in live[_MOST_ROWS:])
        rows += (
            f'<tr><th scope="row" class="name">{len(live) - _MOST_ROWS} more</th><td>{rest:,}</td>'
            f"<td>{100 * rest / max(run.peak_bytes, 1):.1f} %</td><td></td><td></td></tr>"
        )
    total = sum(block.nbytes for block in live)
    moment = run.moments[at]
    return (
        f"<table><caption>{title}: {total:,} bytes while <code>{safe(clipped(moment.op, 96))}"
        f'</code> runs, step {at:,}</caption><thead><tr><th scope="col">tensor</th>'
        f'<th scope="col">bytes</th><th scope="col">share</th>'
        f'<th scope="col">live in steps</th><th scope="col" class="word">kind</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _lifetime(block: Block) -> str:
    """The first and the last step at which it is live."""
    first, last = block.start, block.stop - 1
    return f"{first:,}" if first == last else f"{first:,} &ndash; {last:,}"


def _class(kind: Kind) -> str:
    return f"kind-{kind.name.lower().replace('_', '-')}"


def repeats(scene: Scene) -> str:
    """The ops that run more than once."""
    ranked = sorted(scene.runs_again.items(), key=lambda item: (-item[1], item[0]))
    rows = [(clipped(name, _LONG), [f"{count:,}"]) for name, count in ranked[:_MOST_ROWS]]
    if len(ranked) > _MOST_ROWS:
        rest = sum(count for _, count in ranked[_MOST_ROWS:])
        rows.append((f"{len(ranked) - _MOST_ROWS} other ops", [f"{rest:,}"]))
    table = _table("Ops that run again", ("op", "more runs"), rows)
    return f'<div class="narrow">{table}</div>' if rows else ""


def rewrites(report: Report) -> str:
    """The rewrites that were applied, and what they are worth."""
    if report.rewriting is None:
        return ""
    applied = cast("Sequence[str]", report.rewriting["applied"])
    if not applied:
        return ""
    items = "".join(f"<li><code>{safe(clipped(text, _LONG))}</code></li>" for text in applied[:200])
    if len(applied) > 200:
        items += f"<li>{len(applied) - 200} more</li>"
    words = ""
    if "peak_without" in report.rewriting:
        peak = format_bytes(int(str(report.rewriting["peak_without"])))
        words = (
            f"<p>Without them the best peak is {peak}; they add "
            f"{safe(str(report.rewriting['flops_percent']))} % operations.</p>"
        )
    return f"{words}<ul>{items}</ul>"


def notes(report: Report) -> str:
    """What the user should know."""
    return "".join(f"<li>{safe(clipped(note, 600))}</li>" for note in report.notes)


def facts(report: Report) -> str:
    """Everything else that is in the report, as names and values."""
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in report.seconds.items())
    sections: list[tuple[str, str]] = [
        ("model", _said(report.model)),
        ("target", report.target),
        ("order", _said(report.order)),
        ("proof", _said(report.proof)),
        ("accounting", _said(report.accounting)),
        ("apart from the peak, in bytes", _said(report.breakdown_bytes)),
        ("verification", _said(report.verification)),
        ("written", report.output or "nothing"),
        ("run it with", report.session),
        ("versions", _said(report.versions)),
        ("seconds", seconds),
    ]
    return "".join(
        f"<div><dt>{safe(name)}</dt><dd>{safe(clipped(text, 800))}</dd></div>"
        for name, text in sections
        if text
    )


def _said(values: Mapping[str, object]) -> str:
    """Names and values in words."""
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return " and ".join(map(str, cast("Sequence[object]", value))) or "nothing"
    return str(value)
