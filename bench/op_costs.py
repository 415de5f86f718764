"""The cost model against ONNX Runtime's kernels, kind by kind.

    python -m lowtide.bench.op_costs --output bench/results/op_costs

Every op of the models of `bench.models` runs alone in ONNX Runtime's profile, on one thread.  A row
is a kind: what its ops took together, what the model says, and the share of single ops for which
the model is within a factor of two.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.models import models
from lowtide.bench.protocol import end, markdown, write
from lowtide.bench.record import Measure, digest
from lowtide.passes.costs import CostModel
from lowtide.settings import Settings
from lowtide.targets.onnx import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Op

__all__ = ["KindRow", "main", "measures", "rows_of", "table"]


@dataclass(frozen=True, slots=True)
class KindRow:
    """The ops of one kind: nanoseconds together, and how many are well modelled."""

    kind: str
    ops: int
    flops: int
    moved_bytes: int
    measured_ns: int
    modelled_ns: int
    within_twice: int


def rows_of(found: Sequence[tuple[Op, int]]) -> list[KindRow]:
    """A row for each kind among ops and their measured nanoseconds, the longest first."""
    model = CostModel()
    kinds: dict[str, list[tuple[Op, int]]] = defaultdict(list)
    for op, time in found:
        if not op.traits.view:
            kinds[op.qualified].append((op, time))
    rows = [
        KindRow(
            kind=kind,
            ops=len(each),
            flops=sum(op.flops for op, _ in each),
            moved_bytes=sum(t.nbytes for op, _ in each for t in (*op.operands, *op.outputs)),
            measured_ns=sum(time for _, time in each),
            modelled_ns=sum(model.of(op) for op, _ in each),
            within_twice=sum(time <= 2 * model.of(op) <= 4 * time for op, time in each),
        )
        for kind, each in kinds.items()
    ]
    return sorted(rows, key=lambda row: -row.measured_ns)


def table(rows: Sequence[KindRow]) -> str:
    """Markdown: one row per kind."""
    header = ["kind", "ops", "measured ms", "modelled ms", "model / measured", "within 2x"]
    header += ["GFLOP/s", "GB/s"]
    return markdown(
        header,
        [
            [
                row.kind,
                f"{row.ops:,}",
                f"{row.measured_ns / 1e6:.2f}",
                f"{row.modelled_ns / 1e6:.2f}",
                f"{row.modelled_ns / row.measured_ns:.2f}",
                f"{row.within_twice / row.ops:.0%}",
                f"{row.flops / row.measured_ns:.1f}",
                f"{row.moved_bytes / row.measured_ns:.1f}",
            ]
            for row in rows
        ],
    )


def measures(rows: Sequence[KindRow]) -> Iterator[Measure]:
    """By how much the model is off, up or down, and the share of ops that it misses."""
    for row in rows:
        ratio = row.modelled_ns / row.measured_ns
        yield Measure(row.kind, "model", "off by", "ratio", max(ratio, 1 / ratio))
        yield Measure(row.kind, "model", "beyond 2x", "ratio", 1 - row.within_twice / row.ops)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="op_costs", description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="of the models")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    found: list[tuple[Op, int]] = []
    digests: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        for name, path in models(Path(folder)):
            if options.only and name not in options.only:
                continue
            settings = Settings.of(target="onnxruntime", dims={"*": 1}, threads=1)
            digests[name] = digest(path.read_bytes())
            prepared = prepare(path, settings)
            times = prepared.measured_costs()
            found += [(op, times[op.name]) for op in prepared.graph.ops if op.name in times]
    rows = rows_of(found)
    text = table(rows) + "\n"
    print(text)
    if options.output is not None:
        write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            {"threads": 1, "seed": 0},
            measures=measures(rows),
            models=digests,
        )
    return 0


if __name__ == "__main__":
    end(main)
