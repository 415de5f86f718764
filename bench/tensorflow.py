"""Training steps within budgets: what was predicted, and what TensorFlow then did.

    python -m lowtide.bench.tensorflow --output bench/results/tensorflow [--only NAME ...]

The networks of Checkmate's experiments at a scale that a desktop carries (bench/keras_networks.py).
A step is loss and gradients.  Costs and scratch of kernels are measured once for each distinct op;
peaks are from TensorFlow's own log of allocations in a process of its own, times there the least
CPU-seconds of some calls, and results are compared bit for bit with the step that runs every op
once.

Three tables: budgets as parts of the step's peak; other ways to choose what is recomputed, each
beside ours within the peak that the other was measured to have; and the largest batch within the
peak of the usual one at no more than one extra forward pass.  Results are written after each
network, so that a run can be ended early.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowtide.bench.protocol import write
from lowtide.bench.tensorflow_table import BatchCell, BudgetCell, RivalCell, text_of
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lowtide.training.step import PlannedFunction

__all__ = ["batch_cell", "budget_cells", "main", "rival_cells"]

BUDGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
SOLVERS = ("ap-sqrt", "griewank", "checkmate-lp-rounding")
# Where a person would cut the network: the results of these layers are kept, and each block in
# between is computed again when its gradient is due.
CUTS = {
    "MobileNet": tuple(f"conv_pw_{i}_relu" for i in (2, 4, 6, 8, 10, 12)),
    "VGG16": tuple(f"block{i}_pool" for i in (1, 2, 3, 4)),
    "VGG19": tuple(f"block{i}_pool" for i in (1, 2, 3, 4)),
    "ResNet50": tuple(
        f"conv{stage}_block{block}_out"
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 2))
        for block in range(1, blocks + 1)
    ),
}
_FACTORS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
_CALLS = 3
_RIVALS_AT = 0.8  # of the peak, or the least budget met below it


def _plan(
    function: object,
    budget: float | int | None,
    limit_s: float,
    solver: str = "search",
    *,
    profile: bool = True,
) -> PlannedFunction:
    import lowtide.tensorflow

    return lowtide.tensorflow.rematerialize(
        function, budget=budget, time_limit_s=limit_s, solver=solver, profile=profile
    )


def _measured(planned: PlannedFunction) -> tuple[int, float]:
    from lowtide.backends.tensorflow.measure import measure_function, measure_seconds

    function = planned.concrete_function
    return measure_function(function).peak_bytes, measure_seconds(function, calls=_CALLS, cpu=True)


def _results(planned: PlannedFunction) -> list[Any]:
    """Loss and gradients; variables (seeds of dropout, statistics) are put back afterwards."""
    tf: Any = importlib.import_module("tensorflow")
    function: Any = planned.concrete_function
    (images, labels), _ = function.structured_input_signature
    x = tf.random.stateless_normal(images.shape, (1, 2))
    kept = [(variable, variable.numpy()) for variable in function.variables]
    found = [t.numpy() for t in tf.nest.flatten(planned(x, tf.zeros(labels.shape, tf.int32)))]
    for variable, value in kept:
        variable.assign(value)
    return found


def budget_cells(
    name: str, function: object, budgets: Sequence[float], limit_s: float
) -> tuple[list[BudgetCell], PlannedFunction, tuple[int, float]]:
    """The network at every budget down to the first that nothing meets; the step as it is."""
    base = _plan(function, None, limit_s)
    measured = _measured(base)
    expected = _results(base)
    plan = base.plan
    whole = plan.peak_before_bytes
    found = [
        BudgetCell(name, 1.0, whole, whole, measured[0], plan.cost_before_s, measured[1], 0, True)
    ]
    for budget in budgets:
        try:
            planned = _plan(function, budget, limit_s)
        except LowtideError as error:
            met = re.search(r"was met is .*?\((\d+) bytes", str(error))
            least = None if met is None else int(met[1])
            unmet = (None, None, None, None, None)
            found.append(BudgetCell(name, budget, int(budget * whole), least, *unmet))
            break
        peak, seconds = _measured(planned)
        results = zip(_results(planned), expected, strict=True)
        found.append(
            BudgetCell(
                name,
                budget,
                int(budget * whole),
                planned.plan.peak_after_bytes,
                peak,
                planned.plan.cost_after_s,
                seconds,
                planned.plan.recomputed,
                all(np.array_equal(one, other) for one, other in results),
            )
        )
    return found, base, measured


def _blocks(name: str) -> Callable[[Any], Callable[[Any], Any]]:
    """The model as blocks under `tf.recompute_grad`, the last one apart."""

    def forward(model: Any) -> Callable[[Any], Any]:
        tf: Any = importlib.import_module("tensorflow")
        keras: Any = importlib.import_module("keras")
        ends = [model.get_layer(cut).output for cut in CUTS[name]]
        starts = [model.input, *ends]
        parts = [
            keras.Model(start, end)
            for start, end in zip(starts, [*ends, model.output], strict=True)
        ]

        def again(part: Any) -> Any:
            def block(x: Any) -> Any:
                return part(x, training=True)

            return tf.recompute_grad(block)

        def run(x: Any) -> Any:
            for part in parts[:-1]:
                x = again(part)(x)
            return parts[-1](x, training=True)

        return run

    return forward


def rival_cells(
    name: str,
    function: Any,
    base: PlannedFunction,
    base_seconds: float,
    budget: int,
    limit_s: float,
    solvers: Sequence[str],
) -> list[RivalCell]:
    """Classic strategies within a budget, and blocks by hand; ours beside each at its peak."""
    from lowtide.bench.keras_networks import training_step

    def strategy(solver: str) -> Callable[[], PlannedFunction]:
        return lambda: _plan(function, budget, limit_s, solver)

    rivals = {solver: strategy(solver) for solver in solvers}
    if name in CUTS:
        blocks = training_step(name, forward=_blocks(name))
        rivals["tf.recompute_grad"] = lambda: _plan(blocks, None, limit_s)
    found: list[RivalCell] = []
    for rival, make in rivals.items():
        try:
            theirs = make()
            peak, seconds = _measured(theirs)
            ours = _plan(function, peak, limit_s)
            our_peak, our_seconds = _measured(ours)
        except LowtideError as error:
            print(f"{name} {rival}: {error}", file=sys.stderr, flush=True)
            continue
        found.append(
            RivalCell(
                network=name,
                rival=rival,
                measured_peak=peak,
                rival_seconds=seconds,
                our_measured_peak=our_peak,
                our_seconds=our_seconds,
                base_seconds=base_seconds,
                rival_predicted=theirs.plan.cost_after_s,
                our_predicted=ours.plan.cost_after_s,
                base_predicted=base.plan.cost_before_s,
            )
        )
    return found


def batch_cell(name: str, limit_s: float, *, confirm: bool) -> BatchCell:
    """Try larger batches until one needs more than the usual one's peak, or more time."""
    from lowtide.bench.keras_networks import NETWORKS, training_step

    batch = NETWORKS[name][1]
    usual = _plan(training_step(name, batch=batch), None, limit_s, profile=confirm)
    budget = usual.plan.peak_before_bytes
    best = BatchCell(name, batch, budget, batch, budget, None, 0.0)
    for factor in _FACTORS:
        larger = int(batch * factor)
        function = training_step(name, batch=larger)
        try:
            planned = _plan(function, budget, limit_s, profile=confirm)
        except LowtideError:
            break
        plan = planned.plan
        extra = (plan.cost_after_s - plan.cost_before_s) / _forward_seconds(function, confirm)
        if extra > 1.0:
            break
        peak = None
        if confirm:
            from lowtide.backends.tensorflow.measure import measure_function

            peak = measure_function(planned.concrete_function).peak_bytes
            if peak > budget:
                break
        best = BatchCell(name, batch, budget, larger, plan.peak_after_bytes, peak, extra)
    return best


def _forward_seconds(function: Any, profile: bool) -> float:
    """What the ops cost that the loss needs, by the costs that planned the step."""
    from lowtide.backends.tensorflow.profile import default_cache, profile_ops
    from lowtide.frontends.tensorflow import import_function
    from lowtide.passes.costs import CostModel

    graph = import_function(function)
    if profile:
        profile_ops(graph, cache=default_cache())
    costs = CostModel().by_op(graph)
    wanted = [graph.outputs[0].producer]
    needed: set[object] = set()
    total = 0
    while wanted:
        op = wanted.pop()
        if op is not None and op not in needed:
            needed.add(op)
            total += costs[op]
            wanted += [tensor.producer for tensor in op.operands]
    return max(total, 1) / 1e9


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    from lowtide.bench.keras_networks import NETWORKS, training_step

    parser = argparse.ArgumentParser(prog="tensorflow", description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="NAME", default=list(NETWORKS))
    parser.add_argument("--budgets", nargs="*", type=float, default=list(BUDGETS))
    parser.add_argument("--solvers", nargs="*", metavar="NAME", default=list(SOLVERS))
    parser.add_argument("--rivals", nargs="*", metavar="NAME", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="*", metavar="NAME", default=list(NETWORKS))
    parser.add_argument("--confirm", nargs="*", metavar="NAME", default=["MobileNet", "U-Net"])
    parser.add_argument("--time-limit", type=float, default=10.0, help="seconds, of each search")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    budgets: list[BudgetCell] = []
    rivals: list[RivalCell] = []
    batches: list[BatchCell] = []

    def report() -> None:
        text = text_of(budgets, rivals, batches)
        if options.output is None:
            print(text, flush=True)
            return
        document = {
            "budgets": [asdict(c) for c in budgets],
            "rivals": [asdict(c) for c in rivals],
            "batches": [asdict(c) for c in batches],
        }
        write(options.output, text, document, {"time_limit_s": options.time_limit})

    for name in options.only:
        function = training_step(name)
        cells, base, measured = budget_cells(name, function, options.budgets, options.time_limit)
        budgets += cells
        report()
        if name in options.rivals:
            met = [c for c in cells if c.measured_peak is not None and c.budget <= _RIVALS_AT]
            least = min((c.predicted_peak or 0 for c in met), default=0)
            budget = least or int(_RIVALS_AT * base.plan.peak_before_bytes)
            rivals += rival_cells(
                name, function, base, measured[1], budget, options.time_limit, options.solvers
            )
            report()
    for name in options.batches:
        confirm = name in options.confirm
        batches.append(batch_cell(name, options.time_limit, confirm=confirm))
        report()


if __name__ == "__main__":
    main()
