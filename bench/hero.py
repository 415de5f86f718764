"""The README's first picture: a network that does not fit a microcontroller, and does.

    python -m lowtide.bench.hero docs/pictures/hero.svg

MobileNetV2 0.35, int8, 144 x 144, in stock TensorFlow Lite Micro: the file as it is, and with the
regions in tiles of the row `arena` of bench/results/tiling.json. Both are executed again, here, and
compared; the figures in the picture are those of the interpreter, and have to be the row's. A curve
is the bytes of the arena's head that are taken while an operator runs, on what persists.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.backends.tflite import emit, rebuild
from lowtide.backends.tflite.tflm import (
    measure_scratch,
    plan_offsets,
    stored_offsets,
    verify_in_tflm,
)
from lowtide.backends.tflite.tflm.lifetimes import arena_buffers, scopes_of
from lowtide.backends.tflite.tflm.planner import ONLINE, place_greedily
from lowtide.bench.mobilenet import mobilenet_v2
from lowtide.bench.protocol import end
from lowtide.errors import LowtideError
from lowtide.frontends.tflite import TfliteDialect, import_graph, read
from lowtide.passes.rewrite.registry import parse_rewrite
from lowtide.passes.rewrite.tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lowtide.frontends.tflite import TfliteSource

__all__ = ["Side", "draw", "main", "occupied", "sides"]

_SIDE, _WAY, _MOST_PARTS = 144, "arena", 10
_SRAM = 256 * 1024
_RESULTS = Path(__file__).resolve().parent / "results" / "tiling.json"


@dataclass(frozen=True, slots=True)
class Side:
    """One way to run the network.

    Attributes:
        occupied: bytes of the head that are taken while each operator runs.
        head_bytes: measured.
        required_bytes: the least arena in which it loads and runs, measured.
    """

    occupied: tuple[int, ...]
    head_bytes: int
    required_bytes: int


def occupied(source: TfliteSource) -> tuple[int, ...]:
    """Bytes of the head that are taken while each operator runs, as the file's plan lays them out.

    Bytes that several tensors share count once: results written in place, slices in what they are
    of.
    """
    buffers = arena_buffers(source.model, measure_scratch(source).sizes)
    stored = stored_offsets(source)
    planned = None
    if stored is not None:
        planned = [ONLINE if b.is_scratch else stored[b.tensor] for b in buffers]
    offsets = place_greedily(buffers, planned).offsets
    found: list[int] = []
    for _, (first, last) in sorted(scopes_of(source.model).items()):
        taken = total = 0
        live = (
            (at, at + b.nbytes)
            for b, at in zip(buffers, offsets, strict=True)
            if b.first <= last and first <= b.last
        )
        for low, high in sorted(live):
            total += max(0, high - max(low, taken))
            taken = max(taken, high)
        found.append(total)
    return tuple(found)


def sides(side: int, rewrites: Iterable[str]) -> tuple[Side, Side]:
    """The network as it is and with regions in tiles, both executed; the outputs are the same bits.

    Raises:
        VerificationError: they are not.
    """
    source = read(mobilenet_v2(side))
    imported = import_graph(source)
    edited = import_graph(source).graph
    dialect = TfliteDialect(source, imported, most_parts=_MOST_PARTS)
    for text in rewrites:
        Tiling().apply(edited, dialect, parse_rewrite(text))
    tiled = read(rebuild(source, imported, edited))
    plan = plan_offsets(tiled.model, scratch=measure_scratch(tiled).sizes)
    order = range(len(tiled.model.subgraphs[0].operators))
    result = read(emit(tiled, order, metadata=plan.metadata))
    done = verify_in_tflm(source, result, predicted_head_bytes=plan.head_bytes)
    before = Side(occupied(source), done.before.head_bytes, done.before.required_bytes)
    after = Side(occupied(result), done.after.head_bytes, done.after.required_bytes)
    return before, after


_WIDTH, _HEIGHT = 900, 372
_LEFTS, _PANEL, _TOP, _PLOT = (78, 494), 386, 102, 218
_MOST = 400 * 1024  # bytes, at the top

_STYLE = """
.card { fill: #ffffff; stroke: #d1d9e0 } .ink { fill: #1f2328 } .dim { fill: #59636e }
.grid { stroke: #d1d9e0 } .limit { stroke: #1f2328; stroke-width: 1.5 } .kept { fill: #d1d9e0 }
.before { fill: #e9b8ac; stroke: #b3412b } .over { fill: #c4553b } .bad { fill: #b3412b }
.after { fill: #a9cfdd; stroke: #1f6f8b } .good { fill: #1a6480 }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #3d444d } .ink { fill: #f0f6fc } .dim { fill: #9198a1 }
.grid { stroke: #3d444d } .limit { stroke: #f0f6fc } .kept { fill: #3d444d }
.before { fill: #6b3226; stroke: #ee8e78 } .over { fill: #d9634a } .bad { fill: #f29a86 }
.after { fill: #1d4a5c; stroke: #6cb8d4 } .good { fill: #7cc4de } }
.area { stroke: none } .line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
"""


def draw(before: Side, after: Side, more_operations: float) -> str:
    """The picture, with styles for light and dark."""
    words = (
        f"The file as it is needs an arena of {before.required_bytes:,} bytes, more than 256 KiB. "
        f"Rewritten and planned by Lowtide it needs {after.required_bytes:,} bytes, and computes "
        f"the same bits."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" font-family="system-ui, -apple-system, Segoe UI, '
        f'Helvetica, Arial, sans-serif" font-size="13" role="img" aria-labelledby="title words">',
        '<title id="title">MobileNetV2 in TensorFlow Lite Micro, before and after Lowtide</title>',
        f'<desc id="words">{words}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8"/>',
        _text(24, 34, "MobileNetV2 in 256 KiB of memory", "ink", size=18, bold=True),
        _text(
            24,
            55,
            f"width 0.35, int8, {_SIDE}x{_SIDE} pixels, in stock TensorFlow Lite Micro: what the "
            f"arena holds while each operator runs",
            "dim",
        ),
    ]
    for count in (0, 128 * 1024, 384 * 1024):
        y = _y(count)
        parts += [f'<path class="grid" d="M{left} {y:g}h{_PANEL}"/>' for left in _LEFTS]
        parts.append(
            _text(_LEFTS[0] - 8, y + 4, f"{count // 1024} KiB" if count else "0", "dim", "end")
        )
    parts += _panel(_LEFTS[0], before, "before", "the file as it is")
    parts += _panel(_LEFTS[1], after, "after", "Lowtide")
    y = _y(_SRAM)
    parts += [
        f'<path class="limit" stroke-dasharray="7 4" d="M{left} {y:g}h{_PANEL}"/>'
        for left in _LEFTS
    ]
    parts.append(_text(_LEFTS[0] - 8, y + 4, "256 KiB", "ink", "end", bold=True))
    parts.append(_text(_LEFTS[0] + _PANEL, y - 8, "all the memory there is", "ink", "end"))
    same = f"the same outputs, bit for bit, for {100 * more_operations:.1f} % more arithmetic"
    parts.append(_text(_LEFTS[1] + _PANEL, y + 21, same, "ink", "end"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(left: int, side: Side, style: str, title: str) -> list[str]:
    """A curve on what persists; what is above the limit is filled strongly."""
    fits = side.required_bytes <= _SRAM
    tone, verdict = ("good", "fits") if fits else ("bad", "does not fit")
    right, ground, limit = left + _PANEL, _y(0), _y(_SRAM)
    kept = side.required_bytes - side.head_bytes
    path = _curve(side.occupied, kept, left)
    parts = [f'<path class="{style} area" d="{path}"/>']
    if not fits:
        parts += [
            f'<clipPath id="above"><path d="M{left} 0h{_PANEL}V{limit:g}h-{_PANEL}Z"/></clipPath>',
            f'<path class="over" clip-path="url(#above)" d="{path}"/>',
        ]
    return [
        *parts,
        f'<path class="{style} line" d="{path}"/>',
        f'<path class="kept" d="M{left} {_y(kept):g}h{_PANEL}V{ground:g}h-{_PANEL}Z"/>',
        _text(left + 10, _y(kept / 2) + 4, f"the interpreter's own: {kept:,} bytes", "ink"),
        _text(left, 86, f"{title}: {side.required_bytes:,} bytes", tone, size=15, bold=True),
        _text(right, 86, verdict, tone, "end", size=15, bold=True),
        _text(left, ground + 21, f"{len(side.occupied)} operators, first to last", "dim"),
    ]


def _y(count: float) -> float:
    return round(_TOP + _PLOT * (1 - count / _MOST), 1)


def _curve(values: Sequence[int], floor: int, left: int) -> str:
    """A stair an operator, on what persists, closed along the ground."""
    parts = [f"M{left} {_y(0):g}"]
    for index, value in enumerate(values):
        right = left + _PANEL * (index + 1) / len(values)
        parts.append(f"V{_y(floor + value):g}H{right:.1f}")
    return "".join(parts) + f"V{_y(0):g}Z"


def _text(
    x: float,
    y: float,
    text: str,
    style: str,
    anchor: str = "start",
    *,
    size: int = 13,
    bold: bool = False,
) -> str:
    more = f' font-size="{size}"' if size != 13 else ""
    more += ' font-weight="600"' if bold else ""
    more += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text class="{style}" x="{x:g}" y="{y:g}"{more}>{text}</text>'


def main() -> int:
    """Execute both and write the picture.

    Raises:
        LowtideError: what was measured is not what the results say.
    """
    parser = argparse.ArgumentParser(description="The README's first picture.")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    rows = cast("list[dict[str, object]]", json.loads(_RESULTS.read_text())["rows"])
    rows = [row for row in rows if str(row["network"]).endswith(f" {_SIDE}x{_SIDE}")]
    file, tiled = (next(r for r in rows if r["way"] == way) for way in ("file", _WAY))
    before, after = sides(_SIDE, cast("list[str]", tiled["rewrites"]))
    for row, side in ((file, before), (tiled, after)):
        if (row["head_bytes"], row["arena_bytes"]) != (side.head_bytes, side.required_bytes):
            raise LowtideError(
                f"measured {side.head_bytes} and {side.required_bytes} bytes, {_RESULTS.name} says "
                f"{row['head_bytes']} and {row['arena_bytes']}: run lowtide.bench.tiling anew"
            )
    options.output.write_text(draw(before, after, cast("float", tiled["more_operations"])))
    return 0


if __name__ == "__main__":
    end(main)
