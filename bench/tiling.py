"""The table of tiling: MobileNetV2, int8, width 0.35, in stock TFLite Micro.

    python -m lowtide.bench.tiling [--sides 96 144] [--limit 0.15] [--output bench/results/tiling]

Each network is planned as it is, and in regions that run tile by tile: the sets of regions that no
other one beats, by estimate, in the load of the arena's head and in what the new operators take for
good. Each is written as a file, planned, checked, and measured in the stock interpreter; its
outputs are compared with those of the file as it was, bit for bit, in TFLite Micro and in LiteRT.

`head` is tensors and scratch, what an order and a plan decide; `arena` is the least in which the
model loads and runs, with the structures that persist (on this machine's 64 bits; they are smaller
on a microcontroller). Operations are counted as `frontends/tflite/flops.py` has it: a multiply-add
is two.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.tflite import emit, rebuild
from lowtide.backends.tflite.tflm import (
    ACCOUNTING,
    annotate,
    measure,
    measure_scratch,
    plan_offsets,
    verify_in_tflm,
)
from lowtide.bench.mobilenet import mobilenet_v2
from lowtide.bench.protocol import end, markdown, one_core, write
from lowtide.bench.record import Measure, digest
from lowtide.frontends.tflite import TfliteDialect, import_graph, read
from lowtide.passes.rewrite.regions import Limits
from lowtide.passes.rewrite.tiling import Tiling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.frontends.tflite import TfliteSource
    from lowtide.passes.rewrite.rule import Rewrite

__all__ = ["Row", "main", "measures", "run"]

_MOST_PARTS = 10  # TFLite Micro's CONCATENATION
_OP_BYTES, _CHANNEL_BYTES = 170, 8  # as in the target `tflite`
_TRIED = 6  # choices, of those best by estimate


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run a network.

    Attributes:
        network: its name.
        way: `file`, `planned`, or what the regions were chosen for.
        rewrites: the regions in tiles.
        operators: of the file.
        head_bytes: measured.
        bound_bytes: no layout of this order has a lower head.
        arena_bytes: measured.
        more_operations: beside those of the network as it is, as a part of these.
        seconds: CPU-seconds of the choice.
        litert: outputs are the same in LiteRT; in TFLite Micro they always are.
    """

    network: str
    way: str
    rewrites: tuple[str, ...]
    operators: int
    head_bytes: int
    bound_bytes: int
    arena_bytes: int
    more_operations: float
    seconds: float
    litert: bool | None


def run(side: int, *, limit: float = 0.15, seed: int = 0) -> Iterator[Row]:
    """The rows of one network: as it is, planned, and the best found of each way to choose."""
    name = f"MobileNetV2 0.35, {side}x{side}"
    source = read(mobilenet_v2(side, seed=seed))
    before = measure(source)
    count = len(source.model.subgraphs[0].operators)
    yield Row(name, "file", (), count, before.head_bytes, 0, before.required_bytes, 0.0, 0.0, None)
    yield _row(name, "planned", source, (), 0.0)
    limits = Limits(ACCOUNTING, elided=True, op_bytes=_OP_BYTES, channel_bytes=_CHANNEL_BYTES)
    rule = Tiling(limits, limit)
    imported = import_graph(source)
    annotate(imported.graph, source.model, measure_scratch(source))
    dialect = TfliteDialect(source, imported, most_parts=_MOST_PARTS)
    began = time.process_time()
    choices = rule.choices(imported.graph, dialect)
    seconds = time.process_time() - began
    lowest = sorted(choices, key=lambda each: each.peak_bytes)
    for way, tried in (("head", lowest[:_TRIED]), ("arena", choices[:_TRIED])):
        rows = [_row(name, way, source, rule.rewrites(each), seconds) for each in tried]
        if rows:
            head = way == "head"
            yield min(rows, key=lambda row: row.head_bytes if head else row.arena_bytes)


def _row(
    name: str, way: str, source: TfliteSource, rewrites: tuple[Rewrite, ...], seconds: float
) -> Row:
    """The network with these regions in tiles, written, planned, executed and compared."""
    imported = import_graph(source)
    edited = import_graph(source).graph
    work = sum(op.flops for op in edited.ops)
    dialect = TfliteDialect(source, imported, most_parts=_MOST_PARTS)
    for rewrite in rewrites:
        Tiling().apply(edited, dialect, rewrite)
    tiled = read(rebuild(source, imported, edited)) if rewrites else source
    plan = plan_offsets(tiled.model, scratch=measure_scratch(tiled).sizes)
    order = range(len(tiled.model.subgraphs[0].operators))
    result = read(emit(tiled, order, metadata=plan.metadata))
    done = verify_in_tflm(source, result, predicted_head_bytes=plan.head_bytes)
    return Row(
        network=name,
        way=way,
        rewrites=tuple(map(str, rewrites)),
        operators=len(order),
        head_bytes=done.after.head_bytes,
        bound_bytes=plan.lower_bound_bytes,
        arena_bytes=done.after.required_bytes,
        more_operations=(sum(op.flops for op in edited.ops) - work) / work,
        seconds=seconds,
        litert=done.litert,
    )


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines: list[list[str]] = []
    first: dict[str, Row] = {}
    for row in rows:
        base = first.setdefault(row.network, row)
        tiles = [text.rpartition("x")[2].rstrip("^").count(",") + 1 for text in row.rewrites]
        lines.append(
            [
                f"{row.network}: {row.way}",
                " + ".join(map(str, tiles)) or "-",
                str(row.operators),
                f"{row.head_bytes:,}",
                f"{base.head_bytes / row.head_bytes:.2f}x",
                f"{row.bound_bytes:,}" if row.bound_bytes else "-",
                f"{row.arena_bytes:,}",
                f"{base.arena_bytes / row.arena_bytes:.2f}x",
                f"{100 * row.more_operations:.1f} %",
                f"{row.seconds:.1f}" if row.rewrites else "-",
            ]
        )
    header = ["network", "tiles", "operators", "head", "lower", "bound", "arena", "lower"]
    return markdown([*header, "more operations", "choice, CPU s"], lines)


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Heads and whole arenas, as the interpreter needs them, and operations that were added."""
    for row in rows:
        peer = row.way == "file"
        yield Measure(row.network, row.way, "head", "bytes", row.head_bytes, peer)
        yield Measure(row.network, row.way, "arena", "bytes", row.arena_bytes, peer)
        if not peer:
            more = 100 * row.more_operations
            yield Measure(row.network, row.way, "more operations", "%", more)
            yield Measure(row.network, row.way, "CPU", "s", row.seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the module."""
    parser = argparse.ArgumentParser(description="Tiling in TFLite Micro")
    parser.add_argument("--sides", type=int, nargs="*", default=[96, 144])
    parser.add_argument("--limit", type=float, default=0.15, help="more operations, at most")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    one_core()
    rows: list[Row] = []
    for side in options.sides:
        for row in run(side, limit=options.limit):
            print(f"{row.network} {row.way}: {row.head_bytes} {row.arena_bytes}", file=sys.stderr)
            rows.append(row)
    text = table(rows)
    print(text)
    if options.output is not None:
        write(
            options.output,
            f"{_TEXT}{text}\n",
            {"rows": [asdict(row) for row in rows]},
            {"sides": options.sides, "limit": options.limit, "seed": 0},
            measures=measures(rows),
            models={f"{side}": digest(mobilenet_v2(side, seed=0)) for side in options.sides},
        )
    return 0


_TEXT = """# Tiling

MobileNetV2, width 0.35, int8, run in stock TFLite Micro: the file as it was (TFLM's own planner),
planned without rewriting, and with regions in tiles, chosen for the least head or for the least
arena (head and what persists, on 64 bits). Outputs are the same bit for bit, in TFLite Micro and in
LiteRT. `bound`: no layout of this order has a lower head. See `bench/tiling.py`.

"""


if __name__ == "__main__":
    end(main)
