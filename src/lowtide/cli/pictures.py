"""Commands that draw: plot a saved plan, and compare two models or plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.cli.model import Json, Model, Target
from lowtide.errors import InputError
from lowtide.live import show
from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.pictures.difference import Difference

__all__ = ["diff", "plot"]

_MOST_NAMES = 12


def plot(
    plan: Annotated[Path, typer.Argument(help="A plan written by --plan-out.", metavar="PLAN")],
    path: Model,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="The picture: .html (a page), .svg, .png, .json (Chrome trace) or .pickle "
            "(pytorch.org/memory_viz).",
            metavar="FILE",
        ),
    ],
) -> None:
    """Draw a saved plan of a model."""
    from lowtide import optimizer

    with show() as progress:
        report = optimizer.plot(plan, path, output, progress=progress)
    print(f"peak {format_bytes(report.peak_bytes.after)}, drawn in {output}")


def diff(
    a: Annotated[Path, typer.Argument(help="A plan (.json) or a model.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Of a plan, for its sizes; may be repeated.", metavar="MODEL"),
    ] = None,
    target: Target = None,
    svg: Annotated[
        Path | None, typer.Option("--svg", help="Draw both curves.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two models in their own orders, two plans, or a model with a plan of it."""
    from lowtide.comparison import compare
    from lowtide.outputs import SOURCE, refuse, write_text
    from lowtide.pictures.difference import draw_difference

    for read in (a, b, *(model or ())):
        refuse({SOURCE: read}, {"--svg": svg})
    with show() as progress:
        found = compare(a, b, models=model or (), target=target, progress=progress)
    if svg is not None:
        picture = draw_difference(found)
        if picture is None:
            raise InputError("a plan alone has no sizes to draw: give its model with --model")
        write_text(svg, picture)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _show(found)


def _show(found: Difference) -> None:
    from rich.markup import escape
    from rich.table import Table

    from lowtide.cli.console import console

    out = console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", escape(found.a.name), escape(found.b.name), "change"):
        table.add_column(column, justify="right" if column else "left")
    left, right = found.a, found.b
    for name, one, two in (
        ("peak", left.peak_bytes, right.peak_bytes),
        ("arena", left.arena_bytes, right.arena_bytes),
    ):
        table.add_row(name, format_bytes(one), format_bytes(two), _change(one, two))
    for name, first, second in (
        ("steps", len(left.sequence), len(right.sequence)),
        ("ops", len(set(left.sequence)), len(set(right.sequence))),
        ("rewrites", len(left.rewrites), len(right.rewrites)),
    ):
        table.add_row(name, f"{first:,}", f"{second:,}", f"{second - first:+,}")
    out.print(table)
    if found.first is None:
        out.print("order: the same")
    else:
        share = 100 * found.inverted / max(found.pairs, 1)
        of_pairs = (
            f"; of the pairs of the {found.common:,} common ops {share:.1f} % are turned round "
            f"({found.inverted:,})"
        )
        out.print(f"order: differs from step {found.first:,} on{of_pairs if found.pairs else ''}")
    for title, names in (("only in A", found.removed), ("only in B", found.added)):
        if names:
            more = f", and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
            out.print(f"ops {title}: {escape(', '.join(names[:_MOST_NAMES]))}{more}")
    _show_peaks(found)


def _show_peaks(found: Difference) -> None:
    """The tensors that are live at one peak and not at the other."""
    from rich.markup import escape
    from rich.table import Table

    from lowtide.cli.console import console

    left, right = found.a.at_peak, found.b.at_peak
    if left is None or right is None:
        return
    out = console()
    both = [name for name in left if name in right]
    out.print(f"live at both peaks: {len(both):,} tensors", end="")
    out.print(f", {format_bytes(sum(left[name] for name in both))} of A's")
    for title, own, other in (("A", left, right), ("B", right, left)):
        only = {name: count for name, count in own.items() if name not in other}
        if not only:
            continue
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column(f"live at the peak of {title} only")
        table.add_column("bytes", justify="right")
        for name, count in list(only.items())[:_MOST_NAMES]:
            table.add_row(escape(name), f"{count:,}")
        if len(only) > _MOST_NAMES:
            rest = sum(list(only.values())[_MOST_NAMES:])
            table.add_row(f"{len(only) - _MOST_NAMES} more", f"{rest:,}")
        out.print(table)


def _change(one: int | None, two: int | None) -> str:
    if one is None or two is None:
        return "-"
    if one == two:
        return "same"
    share = f" ({100 * (two - one) / one:+.1f} %)" if one else ""
    sign = "+" if two > one else "-"
    return f"{sign}{format_bytes(abs(two - one))}{share}"
