"""One self-contained page: no network, no framework, nothing in it that the model could run.

Names from the model get into it in two ways: escaped, as text of elements and attributes; and as
JSON without `<`, `>` and `&`, which the script only ever writes as text. The policy in the page's
head allows this style and this script, by their hashes, and nothing else, from nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from lowtide import __version__
from lowtide.pictures import charts, tables
from lowtide.pictures.compact import MOST_BLOCKS, page_data
from lowtide.pictures.names import clipped, safe
from lowtide.pictures.scene import Kind, Verdict
from lowtide.pictures.search_chart import solver_chart
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.pictures.hot import HotRegion
    from lowtide.pictures.scene import Run, Scene
    from lowtide.report import Report

__all__ = ["render_page"]

_SLOT = re.compile(r"\{\{([a-z-]+)\}\}")


def render_page(scene: Scene) -> str:
    """The page as HTML text."""
    report = scene.report
    style, script = _template("page.css"), _template("page.js")
    verdict = scene.verdict or _verdict(report)
    model = report.model
    parts = {
        "style": style,
        "script": script,
        "style-hash": _hash(style),
        "script-hash": _hash(script),
        "title": safe(f"{clipped(scene.name, 80)}: peak memory"),
        "name": safe(clipped(scene.name, 160)),
        "under": safe(
            f"{int(str(model['ops'])):,} ops, {int(str(model['tensors'])):,} tensors, "
            f"target {report.target}"
        ),
        "status": verdict.tone,
        "status-word": safe(verdict.word),
        "verdict": safe(verdict.sentence),
        "cards": tables.cards(scene),
        "lines": _lines(scene),
        "live": charts.live_chart(scene),
        "live-words": _live_words(scene),
        "kinds": _kinds(scene),
        "arena-title": (
            "Lifetimes: what is live, and when"
            if scene.own_allocator
            else "The arena: who lies where, and when"
        ),
        "arena": charts.arena_chart(scene),
        "arena-words": _arena_words(scene),
        "hot": "" if scene.hot is None else _hot(scene.hot),
        "peaks": tables.live_table(scene.after, "After")
        + tables.live_table(scene.before, "Before"),
        "again": _section("again", "Computed again", tables.repeats(scene)),
        "rewrites": _section("rewrites", "Rewritten", tables.rewrites(report)),
        "solver": _solver(scene),
        "figures": tables.figures(scene),
        "notes": f'<ul class="notes">{tables.notes(report)}</ul>' if report.notes else "",
        "facts": tables.facts(report),
        "steps": f"{len(scene.after.moments):,}",
        "footer": f"Made by lowtide {safe(__version__)}. This page loads and sends nothing.",
    }
    template = _template("page.html")
    beside = len(template.encode()) + sum(len(part.encode()) for part in parts.values())
    parts["data"] = page_data(scene, beside)
    return _SLOT.sub(lambda slot: parts[slot[1]], template)


def _template(name: str) -> str:
    return files("lowtide.pictures").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"sha256-{digest}"


def _verdict(report: Report) -> Verdict:
    """The report's verdict as a sentence, with the budget or the status as the word beside it."""
    text = report.verdict.removeprefix(f"{report.status}: ")
    sentence = f"{text[:1].upper()}{text[1:]}."
    if report.budget is not None:
        return Verdict.of_budget(met=report.budget["excess"] <= 0, sentence=sentence)
    tone = "good" if report.status == "optimal" else "fair"
    return Verdict(report.status.replace("_", " "), tone, sentence)


def _lines(scene: Scene) -> str:
    found = [
        ("line before", f"before, {format_bytes(scene.before.peak_bytes)}"),
        ("line after", f"after, {format_bytes(scene.after.peak_bytes)}"),
    ]
    if scene.lower_bound_bytes:
        found.append(("bound", f"lower bound, {format_bytes(scene.lower_bound_bytes)}"))
    if scene.budget_bytes is not None:
        found.append(("budget", f"budget, {format_bytes(scene.budget_bytes)}"))
    items = "".join(
        f'<li><svg viewBox="0 0 24 10"><path class="{name}" d="M0 5h24"/></svg>{text}</li>'
        for name, text in found
    )
    if any(moment.again for moment in scene.after.moments):
        items += '<li><span class="swatch kind-recomputed"></span>a step that runs an op again</li>'
    return items


def _kinds(scene: Scene) -> str:
    present = {block.kind for run in (scene.before, scene.after) for block in run.blocks}
    return "".join(
        f'<li><span class="swatch kind-{kind.name.lower().replace("_", "-")}"></span>'
        f"{kind.value}</li>"
        for kind in Kind
        if kind in present
    )


def _live_words(scene: Scene) -> str:
    def said(run: Run) -> str:
        if not run.moments:
            return f"{run.peak_bytes:,} bytes"
        op = clipped(run.moments[run.peak_step].op, 80)
        return (
            f"{run.peak_bytes:,} bytes at step {run.peak_step:,} of {len(run.moments):,} "
            f"(<code>{safe(op)}</code>)"
        )

    text = f"The peak is {said(scene.before)} before, and {said(scene.after)} after."
    if scene.lower_bound_bytes:
        text += f" The lower bound is {scene.lower_bound_bytes:,} bytes."
    if scene.budget_bytes is not None:
        text += f" The budget is {scene.budget_bytes:,} bytes."
    return text


def _arena_words(scene: Scene) -> str:
    left_out = max(len(run.blocks) for run in (scene.before, scene.after)) > MOST_BLOCKS
    more = " The smallest blocks cannot be pointed at." if left_out else ""
    if scene.own_allocator:
        return (
            f"There is no arena: {safe(scene.own_allocator)} places each tensor when it is made. "
            f"This layout is the page's own and only shows from when to when the "
            f"{len(scene.after.blocks):,} blocks after ({len(scene.before.blocks):,} before) are "
            f"live.{more}"
        )

    def said(run: Run, when: str) -> str:
        if run.arena_bytes is None:
            return f"There is no layout {when}."
        own = ", laid out for this page" if run.own_layout else ""
        missing = f" {run.unplaced} blocks have no place in it." if run.unplaced else ""
        placed = sum(block.offset is not None for block in run.blocks)
        return f"{when}: {run.arena_bytes:,} bytes for {placed:,} blocks{own}.{missing}"

    reported = scene.report.arena_bytes.before
    if scene.before.arena_bytes is not None and scene.before.arena_bytes != reported:
        more += f" The report's {reported:,} bytes before are those of the runtime's own planner."
    return f"{said(scene.after, 'After')} {said(scene.before, 'Before')}{more}"


def _hot(hot: HotRegion) -> str:
    rest = ""
    if hot.left_out:
        rest = f" {hot.left_out} smaller tensors ({format_bytes(hot.left_out_bytes)}) are left out."
    words = (
        f"Why the peak is as high as it is: while <code>{safe(clipped(hot.ops[0].name, 80))}"
        f"</code> runs (step {hot.step:,}), what was made before and is still to be read has to "
        f"stay. A line is a tensor, its width the bytes; lines past the middle wait for later ops."
        f"{rest}"
    )
    body = (
        f'<p class="words" id="words-hot">{words}</p>'
        f'<div class="hotbox" tabindex="0" role="region" '
        f'aria-label="Drawing of the ops around the peak">'
        f'<p class="columns" aria-hidden="true"><span>made before</span><span>runs at the peak'
        f"</span><span>still to come</span></p>{charts.hot_drawing(hot)}</div>"
    )
    return _section("hot", "Around the peak", body)


def _solver(scene: Scene) -> str:
    if scene.record is None or not scene.record.solving:
        return ""
    legend = (
        '<ul class="legend" aria-hidden="true"><li><svg viewBox="0 0 24 10"><path class="line '
        'before" d="M0 5h24"/></svg>best so far</li><li><svg viewBox="0 0 24 10"><path '
        'class="bound" d="M0 5h24"/></svg>lower bound</li></ul>'
    )
    drawn = solver_chart(scene.record)
    body = f'{legend}<div class="stages">{drawn}</div>'
    return _section("solver", "How the solvers got there", body)


def _section(name: str, title: str, body: str) -> str:
    if not body:
        return ""
    head = f'<h2 id="title-{name}">{title}</h2>'
    return f'<section aria-labelledby="title-{name}">{head}{body}</section>'
