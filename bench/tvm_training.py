"""Training steps in Relax: TVM's own checkpoints against recomputation within the same bytes.

    python -m lowtide.bench.tvm_training [NETWORK ...] [-o bench/results/tvm_training]

Every network is trained one step by TVM alone, with checkpoints around segments of one to four
blocks, and with our plan, whose budget is what TVM's run was measured to allocate. All run in fresh
processes on the same arguments.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import lowtide.tvm
from lowtide.bench import protocol
from lowtide.bench.record import Measure
from lowtide.bench.tvm_runs import run_finished
from lowtide.bench.tvm_training_networks import NETWORKS
from lowtide.errors import BudgetNotMetError
from lowtide.frontends.tvm import import_function
from lowtide.targets.tvm_pipeline import apply, stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lowtide.bench.tvm_training_networks import Network

__all__ = ["Row", "main", "measures", "run_network"]

_STEP = "main_adjoint"
_SEGMENTS = (1, 2, 3, 4)
_PARTS = (0.5, 0.4, 0.3)


@dataclass(frozen=True, slots=True)
class Row:
    """One network with one way of recomputation; bytes are those of a first call.

    Attributes:
        network: its name.
        plan: `TVM` (nothing again), `TVM, K blocks` (checkpoints), or the part of our own peak.
        theirs: what TVM's plan was measured to allocate; None for a part.
        their_flops: percent above TVM without checkpoints.
        budget: of our plan.
        predicted: what ours allocates; None where no plan was found.
        measured: the same, measured.
        flops: percent above TVM without checkpoints.
        same: whether loss and gradients are those of TVM without checkpoints, bit for bit.
        plan_seconds: of importing, lowering and planning, wall time.
        their_seconds: of TVM's run.
        seconds: of ours.
    """

    network: str
    plan: str
    theirs: int | None
    their_flops: float | None
    budget: int
    predicted: int | None
    measured: int | None
    flops: float
    same: bool
    plan_seconds: float
    their_seconds: float | None
    seconds: float

    @property
    def holds(self) -> bool:
        """The same bits, as predicted, in TVM's bytes; no more operations than its checkpoints."""
        if self.predicted is None:
            return self.theirs is None
        assert self.measured is not None
        fewer = not self.their_flops or self.flops <= self.their_flops
        return self.same and fewer and self.measured == self.predicted <= self.budget


def run_network(name: str, network: Network) -> list[Row]:
    """All ways for one network."""
    import tvm

    target = tvm.target.Target("llvm")
    cut = stages(target)
    plain = network.module()
    arguments = network.arguments()
    rows: list[Row] = []
    expected: list[bytes] = []
    base_flops = 0
    for segment in (0, *_SEGMENTS):
        with target:
            lowered = apply(cut.before, network.module(segment))
            finished = apply(cut.after, cut.planner(lowered))
        flops = sum(op.flops for op in import_function(lowered, _STEP).graph.ops)
        run, outputs = run_finished(finished, arguments, function=_STEP)
        assert run.first_peak_bytes is not None
        if not expected:
            expected, base_flops = [array.tobytes() for array in outputs], flops
        theirs = 100 * (flops - base_flops) / base_flops
        label = f"TVM, {segment} block{'s' if segment > 1 else ''}" if segment else "TVM"
        if segment >= len(network.blocks):
            continue  # the last segment is all there is: no checkpoint
        rows.append(
            _ours(
                (name, label),
                plain,
                arguments,
                run.first_peak_bytes,
                (run.first_peak_bytes, theirs, run.seconds),
                (expected, base_flops),
            )
        )
        print(rows[-1], file=sys.stderr, flush=True)
    for part in _PARTS:
        row = _ours(
            (name, f"{part:g}"), plain, arguments, part, (None,) * 3, (expected, base_flops)
        )
        rows.append(row)
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _ours(
    label: tuple[str, str],
    module: object,
    arguments: Sequence[NDArray[np.float32]],
    budget: float,
    theirs: tuple[int | None, float | None, float | None],
    expected: tuple[list[bytes], int],
) -> Row:
    """Our plan within a budget, run."""
    begin = time.perf_counter()
    try:
        planned = lowtide.tvm.rematerialize(module, budget=budget)
    except BudgetNotMetError:
        seconds = time.perf_counter() - begin
        amount = budget if isinstance(budget, int) else 0
        return Row(*label, *theirs[:2], amount, None, None, 0.0, False, seconds, theirs[2], 0.0)
    seconds = time.perf_counter() - begin
    run, outputs = run_finished(planned.module, arguments, function=_STEP)
    assert planned.budget_bytes is not None
    return Row(
        network=label[0],
        plan=label[1],
        theirs=theirs[0],
        their_flops=theirs[1],
        budget=planned.budget_bytes,
        predicted=planned.peak_bytes,
        measured=run.first_peak_bytes,
        flops=100 * (planned.flops - expected[1]) / expected[1],
        same=[array.tobytes() for array in outputs] == expected[0],
        plan_seconds=seconds,
        their_seconds=theirs[2],
        seconds=run.seconds,
    )


def _table(rows: Sequence[Row]) -> str:
    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    def percent(value: float | None) -> str:
        return "-" if value is None else f"+{value:.1f} %"

    table = protocol.markdown(
        (
            *("network", "plan", "TVM measured", "FLOPs", "ours predicted", "ours measured"),
            *("FLOPs", "same bits", "plan s", "TVM s", "ours s"),
        ),
        [
            (
                row.network,
                row.plan,
                number(row.theirs),
                percent(row.their_flops),
                number(row.predicted),
                number(row.measured),
                "-" if row.predicted is None else percent(row.flops),
                "-" if row.predicted is None else ("yes" if row.same else "no"),
                f"{row.plan_seconds:.1f}",
                "-" if row.their_seconds is None else f"{row.their_seconds:.3f}",
                "-" if row.predicted is None else f"{row.seconds:.3f}",
            )
            for row in rows
        ],
    )
    return (
        "# TVM: training steps within a budget\n\n"
        "Highest level of the blocks that TVM's runtime takes in the first call of a fresh process "
        "(loss, gradients and the kernels' workspace included; parameters and the batch are the "
        "caller's), and floating point operations above TVM without checkpoints. In rows named TVM "
        "our budget is what TVM was measured to allocate, with checkpoints around so many blocks "
        "or without; in the others it is a part of what we allocate without recomputation. `-`: no "
        "plan was found.\n\n"
        f"{table}\n"
    )


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """What a first call allocates, ours and TVM's, and the operations above a plain step's."""
    for row in rows:
        case = f"{row.network}: {row.plan}"
        if row.measured is not None:
            yield Measure(case, "lowtide", "measured peak", "bytes", row.measured)
            yield Measure(case, "lowtide", "more operations", "%", row.flops)
        if row.theirs is not None and row.their_flops is not None:
            yield Measure(case, "TVM", "measured peak", "bytes", row.theirs, peer=True)
            yield Measure(case, "TVM", "more operations", "%", row.their_flops, peer=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; fails where ours needs more, computes something else or was mispredicted."""
    parser = argparse.ArgumentParser(prog="tvm_training", description=__doc__)
    parser.add_argument("networks", nargs="*", choices=[*NETWORKS, []])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    names: list[str] = options.networks or list(NETWORKS)
    rows = [row for name in names for row in run_network(name, NETWORKS[name]())]
    text = _table(rows)
    print(text)
    if options.output is not None:
        protocol.write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            {"networks": " ".join(names), "seed": 0},
            measures=measures(rows),
        )
    return 1 if any(not row.holds for row in rows) else 0


if __name__ == "__main__":
    protocol.end(main)
