"""TVM's memory plan against ours on the models of the onnx package, executed in fresh processes.

    python -m lowtide.bench.tvm [MODEL ...] [--plan-only MODEL ...] [-o bench/results/tvm]

Weights are random (the files hold constants); outputs are compared with ONNX Runtime's.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx import numpy_helper

from lowtide.backends.tvm.predict import first_run_peak
from lowtide.bench import protocol
from lowtide.bench.model_peaks import light_models
from lowtide.bench.record import Measure, digest
from lowtide.bench.tvm_runs import run_finished
from lowtide.frontends.tvm.onnx_model import from_onnx
from lowtide.ir import simulate
from lowtide.targets.tvm_pipeline import stages
from lowtide.targets.tvm_plan import ACCOUNTING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tvm
    from numpy.typing import NDArray

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

__all__ = ["Row", "main", "measures", "randomized", "run_model"]

# Slow to run with kernels that nobody tuned, or hundreds of megabytes of weights.
_PLAN_ONLY = ("light_vgg19", "light_zfnet512", "light_bvlc_alexnet")
_LEAN = ("light_squeezenet", "light_resnet50")


@dataclass(frozen=True, slots=True)
class Row:
    """One model; bytes. Fields of what was executed are None where it was not.

    Attributes:
        model: the file's stem.
        ops: of the lowered function.
        peak_before: liveness peak of TVM's order, results of the model apart.
        peak: of our order.
        status: `optimal` where no order and no layout needs less.
        tvm_plan: the storages of TVM's own planner.
        arena: ours.
        predicted: our first run with results and kernels' workspace.
        measured: the same, measured.
        measured_tvm: the first run of TVM's plan.
        warm: the second run of ours.
        warm_tvm: the second run of TVM's plan.
        seconds: of our run.
        seconds_tvm: of TVM's.
        max_error: against ONNX Runtime, relative to the largest value.
        same_as_tvm: whether the outputs are TVM's, bit for bit.
        plan_seconds: of our planning, wall time.
        lean: what was executed with lean kernels too.
    """

    model: str
    ops: int
    peak_before: int
    peak: int
    status: str
    tvm_plan: int
    arena: int
    predicted: int | None
    plan_seconds: float
    measured: int | None = None
    measured_tvm: int | None = None
    warm: int | None = None
    warm_tvm: int | None = None
    seconds: float | None = None
    seconds_tvm: float | None = None
    max_error: float | None = None
    same_as_tvm: bool | None = None
    lean: Lean | None = None


@dataclass(frozen=True, slots=True)
class Lean:
    """Our plan with kernels that keep less scratch; bytes.

    Attributes:
        predicted: the first run.
        measured: the same, measured.
        warm: the second run.
        seconds: of a run.
        flops: percent more floating point operations.
        max_error: against ONNX Runtime, relative to the largest value.
    """

    predicted: int | None
    measured: int | None
    warm: int | None
    seconds: float
    flops: float
    max_error: float


def randomized(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A copy in which weights made by `ConstantOfShape` are random.

    They are scaled so that values neither vanish nor overflow, and no softmax is saturated.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    rng = np.random.default_rng(seed)
    graph = result.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    variances = {n.input[4] for n in graph.node if n.op_type == "BatchNormalization"}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = [int(dim) for dim in shapes[node.input[0]]]
        fan_in = max(1, int(np.prod(shape[1:])))
        weight = rng.standard_normal(shape) / np.sqrt(fan_in)
        if len(shape) < 2:
            weight *= 0.2
        if node.output[0] in variances:
            weight = rng.uniform(0.5, 1.5, shape)
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return result


def run_model(path: Path, *, execute: bool, lean: bool = False) -> Row:
    """Plan one model, and run both plans in fresh processes where `execute` says so."""
    import tvm

    import lowtide.tvm as facade

    model = randomized(onnx.load(path))
    source = from_onnx(model)
    target = tvm.target.Target("llvm")
    ours = facade.pipeline()
    cut = stages(target)
    with target:
        lowered = ours.lower(source, cut)
        stock = cut.planner(lowered)
        begin = time.perf_counter()
        planned = ours.plan(lowered, cut)
        plan_seconds = time.perf_counter() - begin
        finished = [tvm.transform.Sequential(list(cut.after))(m) for m in (planned, stock)]
    plan = ours.plans["main"]
    certificate = plan.plan.certificate
    assert certificate is not None
    optimal = certificate.status == "optimal" and certificate.scope == "order+layout"
    row = Row(
        model=path.stem,
        ops=len(plan.graph),
        peak_before=simulate(plan.graph, ACCOUNTING).peak_bytes,
        peak=certificate.peak_bytes,
        status="optimal" if optimal else "feasible",
        tvm_plan=_storages(stock["main"]),
        arena=plan.arena_bytes,
        predicted=first_run_peak(plan),
        plan_seconds=plan_seconds,
    )
    if not execute:
        return row
    inputs = _inputs(model)
    run, found = run_finished(finished[0], list(inputs.values()))
    run_tvm, found_tvm = run_finished(finished[1], list(inputs.values()))
    expected = _reference(model)
    return replace(
        row,
        measured=run.first_peak_bytes,
        measured_tvm=run_tvm.first_peak_bytes,
        warm=run.warm_peak_bytes,
        warm_tvm=run_tvm.warm_peak_bytes,
        seconds=run.seconds,
        seconds_tvm=run_tvm.seconds,
        max_error=_error(found, expected),
        same_as_tvm=all(np.array_equal(a, b) for a, b in zip(found, found_tvm, strict=True)),
        lean=_lean(source, list(inputs.values()), expected, plan.flops) if lean else None,
    )


def _lean(source: tvm.IRModule, inputs: list[Array], expected: list[Array], flops: int) -> Lean:
    """The same with lean kernels."""
    import tvm

    import lowtide.tvm as facade

    target = tvm.target.Target("llvm")
    ours = facade.pipeline(lean=True)
    with target:
        finished = ours(source)
    plan = ours.plans["main"]
    run, found = run_finished(finished, inputs)
    return Lean(
        predicted=first_run_peak(plan),
        measured=run.first_peak_bytes,
        warm=run.warm_peak_bytes,
        seconds=run.seconds,
        flops=100 * (plan.flops - flops) / flops,
        max_error=_error(found, expected),
    )


def _error(found: Sequence[NDArray[Any]], expected: Sequence[Array]) -> float:
    """The largest difference, relative to the largest value."""
    return max(
        float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        for a, b in zip(found, expected, strict=True)
    )


def _storages(function: tvm.relax.Function) -> int:
    """The bytes of every storage that TVM's planner allocates."""
    total = 0
    for block in function.body.blocks:
        for binding in block.bindings:
            call = binding.value
            if getattr(getattr(call, "op", None), "name", "") == "relax.memory.alloc_storage":
                total += int(call.args[0].values[0].value)
    return total


def _inputs(model: onnx.ModelProto) -> dict[str, Array]:
    """Random inputs, the same for every runtime."""
    rng = np.random.default_rng(1)
    weights = {t.name for t in model.graph.initializer}
    found: dict[str, Array] = {}
    for value in model.graph.input:
        if value.name not in weights:
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            found[value.name] = rng.standard_normal(dims).astype(np.float32)
    return found


def _reference(model: onnx.ModelProto) -> list[Array]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return cast("list[Array]", session.run(None, _inputs(model)))


def _table(rows: Sequence[Row]) -> str:
    def number(value: int | None) -> str:
        return "-" if value is None else f"{value:,}"

    plans = protocol.markdown(
        ("model", "ops", "liveness peak", "TVM's plan", "", "our arena", "", "proof", "plan s"),
        [
            (
                row.model.removeprefix("light_"),
                str(row.ops),
                number(row.peak),
                number(row.tvm_plan),
                f"{row.tvm_plan / row.peak:.2f}x",
                number(row.arena),
                f"{row.arena / row.peak:.2f}x",
                row.status,
                f"{row.plan_seconds:.1f}",
            )
            for row in rows
        ],
    )
    runs = protocol.markdown(
        (
            *("model", "predicted", "first run", "TVM's", "second run", "TVM's"),
            *("seconds", "TVM's", "relative error", "same as TVM"),
        ),
        [
            (
                row.model.removeprefix("light_"),
                *map(number, (row.predicted, row.measured, row.measured_tvm)),
                *map(number, (row.warm, row.warm_tvm)),
                f"{row.seconds:.2f}",
                f"{row.seconds_tvm:.2f}",
                f"{row.max_error:.1e}",
                "yes" if row.same_as_tvm else "no",
            )
            for row in rows
            if row.measured is not None
        ],
    )
    lean = protocol.markdown(
        (
            *("model", "predicted", "first run", "not lean", "TVM's", "second run", "FLOPs"),
            *("seconds", "not lean", "relative error"),
        ),
        [
            (
                row.model.removeprefix("light_"),
                *map(number, (row.lean.predicted, row.lean.measured)),
                *map(number, (row.measured, row.measured_tvm, row.lean.warm)),
                f"+{row.lean.flops:.1f} %",
                f"{row.lean.seconds:.2f}",
                f"{row.seconds:.2f}",
                f"{row.lean.max_error:.1e}",
            )
            for row in rows
            if row.lean is not None
        ],
    )
    return (
        "# TVM: memory plans of the onnx package's models\n\n"
        "Bytes of intermediate tensors, batch 1, 64-byte aligned; results of the model apart. The "
        "peak is that of the best order, `optimal` where no order and no layout needs less.\n\n"
        f"{plans}\n\n## Executed\n\n"
        "Highest level of the blocks that TVM's runtime takes in the first run of a fresh process "
        "(arena, results, and the kernels' own workspace, which stays) and in the second; random "
        f"weights; kernels as TVM generates them without tuning.\n\n{runs}\n\n## Lean kernels\n\n"
        "Kernels exchanged for ones that keep less scratch, where floating point operations grow "
        f"by at most a twentieth.\n\n{lean}\n"
    )


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """Arenas beside TVM's plans, and what its runtime took for both."""
    for row in rows:
        yield Measure(row.model, "lowtide", "peak", "bytes", row.peak)
        yield Measure(row.model, "lowtide", "arena", "bytes", row.arena)
        yield Measure(row.model, "TVM", "arena", "bytes", row.tvm_plan, peer=True)
        for who, what, value in (
            ("lowtide", "first run", row.measured),
            ("TVM", "first run", row.measured_tvm),
            ("lowtide", "second run", row.warm),
            ("TVM", "second run", row.warm_tvm),
            ("lowtide, lean", "first run", row.lean.measured if row.lean else None),
        ):
            if value is not None:
                yield Measure(row.model, who, what, "bytes", value, peer=who == "TVM")
        if row.seconds and row.seconds_tvm:
            ratio = row.seconds / row.seconds_tvm
            yield Measure(row.model, "lowtide", "seconds over TVM's", "s/s", ratio)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; fails where a prediction is not what was measured."""
    parser = argparse.ArgumentParser(prog="tvm", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", metavar="STEM", help="of the package's models")
    parser.add_argument("--plan-only", nargs="*", default=_PLAN_ONLY, help="stems of files")
    parser.add_argument("--lean", nargs="*", default=_LEAN, help="stems of files")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    models: dict[str, str] = {}
    for path in options.models or light_models():
        if options.only and path.stem not in options.only:
            continue
        execute = path.stem not in options.plan_only
        row = run_model(path, execute=execute, lean=execute and path.stem in options.lean)
        rows.append(row)
        models[row.model] = digest(path.read_bytes())
        print(row, file=sys.stderr, flush=True)
    text = _table(rows)
    print(text)
    if options.output is not None:
        protocol.write(
            options.output,
            text,
            {"rows": [asdict(row) for row in rows]},
            {"plan_only": " ".join(options.plan_only), "seed": 0},
            measures=measures(rows),
            models=models,
        )
    wrong = [row.model for row in rows if row.measured not in (None, row.predicted)]
    wrong += [row.model for row in rows if row.lean and row.lean.measured != row.lean.predicted]
    return 1 if wrong else 0


if __name__ == "__main__":
    protocol.end(main)
