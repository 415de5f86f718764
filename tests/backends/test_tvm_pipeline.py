"""The pipeline: executed results, order, arena, bounds, fallback, budget, plugin."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import distribution
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

import lowtide.tvm
from lowtide.errors import BudgetInfeasibleError, InputError, LowtideError, MissingExtraError
from lowtide.ir import simulate, unroll
from lowtide.targets.tvm_plan import ACCOUNTING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tvm
    from numpy.typing import NDArray

pytestmark = pytest.mark.tvm


def branches(count: int = 4, *, symbolic: bool = False, seed: int = 0) -> tvm.IRModule:
    """Wide branches, written breadth first: all are live at once in the file's order."""
    from tvm import relax
    from tvm.ir import Var

    rng = np.random.default_rng(seed)
    rows = Var("n", "int64") if symbolic else 4
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([rows, 8], "float32"))
    weights = [rng.standard_normal((8, 64)).astype(np.float32) for _ in range(count)]
    back = [rng.standard_normal((64, 3)).astype(np.float32) for _ in range(count)]
    with builder.function("main", [x]):
        with builder.dataflow():
            wide = [builder.emit(relax.op.matmul(x, relax.const(w))) for w in weights]
            narrow = [
                builder.emit(relax.op.matmul(w, relax.const(b)))
                for w, b in zip(wide, back, strict=True)
            ]
            flat = [builder.emit(relax.op.reshape(t, [rows, 3])) for t in narrow]
            total = builder.emit(relax.op.concat(flat, axis=1))
            result = builder.emit_output(relax.op.nn.softmax(total))
        builder.emit_func_output(result)
    return builder.get()


def run(
    module: tvm.IRModule, pipeline: object, *arrays: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    import tvm
    from tvm import relax

    executable = tvm.compile(module, target="llvm", relax_pipeline=pipeline)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return call(machine, *arrays)


def call(machine: object, *arrays: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    import tvm

    function = cast("dict[str, object]", machine)["main"]
    result = function(*map(tvm.runtime.tensor, arrays))  # type: ignore[operator]
    tensors = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
    return [tensor.numpy() for tensor in tensors]


def stock() -> object:
    """TVM's own pipeline for the CPU, fusion included."""
    import tvm

    return tvm.relax.get_default_pipeline(tvm.target.Target("llvm"))


def sample(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def test_branches_are_reordered_packed_and_give_the_same_bits() -> None:
    pipeline = lowtide.tvm.pipeline()
    x = sample(4, 8)
    ours = run(branches(), pipeline, x)
    plan = pipeline.plans["main"]
    written = simulate(plan.graph, ACCOUNTING).peak_bytes
    assert plan.arena_bytes < written
    assert plan.plan.certificate is not None
    assert plan.plan.certificate.status == "optimal"
    assert plan.arena_bytes == plan.plan.certificate.lower_bound_bytes
    assert pipeline.notes == ()
    for one, other in zip(ours, run(branches(), stock(), x), strict=True):
        assert one.tobytes() == other.tobytes()


def test_symbolic_sizes_up_to_the_bound_and_a_clean_error_above() -> None:
    import tvm
    from tvm import relax

    pipeline = lowtide.tvm.pipeline(bounds={"n": 8})
    module = branches(symbolic=True)
    executable = tvm.compile(module, target="llvm", relax_pipeline=pipeline)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    reference = relax.VirtualMachine(
        tvm.compile(module, target="llvm", relax_pipeline=stock()), tvm.cpu()
    )
    for rows in (1, 3, 8):
        x = sample(rows, 8)
        assert call(machine, x)[0].tobytes() == call(reference, x)[0].tobytes()
    with pytest.raises(ValueError, match=r"`n` is outside of .0, 8.*larger bound"):
        call(machine, sample(9, 8))
    static = lowtide.tvm.pipeline()
    run(branches(), static, sample(4, 8))
    assert pipeline.plans["main"].arena_bytes == 2 * static.plans["main"].arena_bytes
    assert "tir_var_upper_bound" not in (module["main"].attrs or {})


def test_without_a_bound_the_plan_is_tvms_and_the_note_says_why() -> None:
    pipeline = lowtide.tvm.pipeline()
    x = sample(5, 8)
    ours = run(branches(symbolic=True), pipeline, x)
    assert pipeline.plans == {}
    assert "left to TVM's planner" in pipeline.notes[0]
    assert "bound" in pipeline.notes[0]
    assert ours[0].tobytes() == run(branches(symbolic=True), stock(), x)[0].tobytes()


def conditional() -> tvm.IRModule:
    """A function with an `If`."""
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([4], "float32"))
    flag = relax.Var("flag", relax.TensorType([], "bool"))
    with builder.function("main", [x, flag]):
        left = relax.SeqExpr([], relax.op.add(x, x))
        right = relax.SeqExpr([], relax.op.multiply(x, x))
        builder.emit_func_output(builder.emit(relax.If(flag, left, right)))
    return relax.transform.Normalize()(builder.get())


def test_control_flow_is_left_to_tvm() -> None:
    import tvm
    from tvm import relax

    pipeline = lowtide.tvm.pipeline()
    executable = tvm.compile(conditional(), target="llvm", relax_pipeline=pipeline)
    machine = relax.VirtualMachine(executable, tvm.cpu())
    x = sample(4)
    for flag, expected in ((True, x + x), (False, x * x)):
        result = machine["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(np.array(flag)))
        assert np.array_equal(result.numpy(), expected)
    assert "control flow" in pipeline.notes[0]


def test_a_budget_below_the_bound_is_refused_with_the_numbers() -> None:
    import tvm

    needed = lowtide.tvm.pipeline()
    tvm.compile(branches(), target="llvm", relax_pipeline=needed)
    arena = needed.plans["main"].arena_bytes
    tvm.compile(branches(), target="llvm", relax_pipeline=lowtide.tvm.pipeline(budget=arena))
    with pytest.raises(BudgetInfeasibleError, match=rf"takes {arena} bytes, the budget is 64;"):
        tvm.compile(branches(), target="llvm", relax_pipeline=lowtide.tvm.pipeline(budget=64))


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="at least one byte"):
        lowtide.tvm.pipeline(budget=0)
    with pytest.raises(InputError, match="must not be negative"):
        lowtide.tvm.pipeline(bounds={"n": -1})
    with pytest.raises(InputError, match="nonsense"):
        lowtide.tvm.pipeline(passes="nonsense")
    with pytest.raises(InputError, match="add the pass `allocate`"):
        lowtide.tvm.pipeline(passes="schedule")


def test_another_series_of_tvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lowtide.frontends.tvm import version

    monkeypatch.setattr(version, "version", lambda _: "0.28.1")
    with pytest.raises(MissingExtraError, match=r"apache-tvm 0\.28\.1 is installed"):
        lowtide.tvm.pipeline()


def test_recomputed_ops_get_fresh_tensors_and_give_the_same_bits() -> None:
    import tvm
    from tvm import relax

    from lowtide.backends.tvm.emit import emit
    from lowtide.frontends.tvm import import_function
    from lowtide.passes.allocate import arena_problem
    from lowtide.solvers.allocation.exact import allocate
    from lowtide.targets.tvm_pipeline import apply, stages

    target = tvm.target.Target("llvm")
    cut = stages(target)
    with target:
        lowered = apply(cut.before, branches())
        imported = import_function(lowered)
        graph = imported.arena_graph()
        ops = list(graph.ops)
        # Every op that makes no result of the function runs again, right before each later reader.
        again = unroll(graph, [*ops[:-1], *ops[:-1], ops[-1]])
        timeline = simulate(again, ACCOUNTING)
        problem = arena_problem(timeline, 64)
        solution = allocate(problem)
        assert solution.offsets is not None
        assert solution.height is not None
        offsets = {b.id: o for b, o in zip(problem.blocks, solution.offsets, strict=True)}
        module = emit(lowered, imported, again.ops, offsets, solution.height)
        module = apply(cut.after, module)
    x = sample(4, 8)
    machine = relax.VirtualMachine(tvm.compile(module, "llvm", relax_pipeline=None), tvm.cpu())
    assert call(machine, x)[0].tobytes() == run(branches(), stock(), x)[0].tobytes()
    assert len(again.ops) == 2 * len(ops) - 1


def test_the_order_of_tvms_passes_is_asserted(monkeypatch: pytest.MonkeyPatch) -> None:
    import tvm
    from tvm import relax

    from lowtide.targets.tvm_pipeline import stages

    target = tvm.target.Target("llvm")
    stages(target)
    stages(tvm.target.Target("nvidia/nvidia-a100"))
    module = importlib.import_module("tvm.relax.backend.cpu_generic.pipeline")
    monkeypatch.setattr(module, "finalize_passes", lambda _: [relax.transform.LowerAllocTensor()])
    with pytest.raises(LowtideError, match="has 0 passes StaticPlanBlockMemory"):
        stages(target)
    monkeypatch.setattr(
        module,
        "finalize_passes",
        lambda _: [
            relax.transform.LowerAllocTensor(),
            relax.transform.StaticPlanBlockMemory(),
            relax.transform.KillAfterLastUse(),
        ],
    )
    with pytest.raises(LowtideError, match="does not run LowerAllocTensor"):
        stages(target)


def test_it_compiles_for_an_nvidia_gpu_without_one() -> None:
    import tvm

    for bounds in (None, {"n": 8}):
        pipeline = lowtide.tvm.pipeline(bounds=bounds)
        executable = tvm.compile(
            branches(symbolic=bounds is not None),
            target=tvm.target.Target("nvidia/nvidia-a100"),
            relax_pipeline=pipeline,
        )
        assert pipeline.plans["main"].arena_bytes > 0
        text = str(executable.as_text())
        assert text.count("call  vm.builtin.alloc_storage") == 2  # the arena, and the result
        modules = [kernels for host in executable.mod.imports for kernels in host.imports]
        sources = [m.inspect_source() for m in modules if m.kind == "cuda"]
        assert sum(source.count("__global__ void") for source in sources) >= 4


def test_a_runtime_that_copies_at_offsets_keeps_tvms_plan() -> None:
    import tvm
    import tvm_ffi

    from lowtide.targets.tvm_pipeline import stages

    target = tvm.target.Target("opencl")
    cut = stages(target)
    pipeline = lowtide.tvm.pipeline()
    with target:
        lowered = pipeline.lower(branches(), cut)
        planned = pipeline.plan(lowered, cut)
        assert tvm_ffi.structural_equal(planned["main"], cut.planner(lowered)["main"])
    assert pipeline.plans == {}
    assert "the runtime of opencl copies" in pipeline.notes[0]


def test_autoload_registers_the_name_and_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    from tvm.relax.pipeline import PIPELINE_MAP

    lowtide.tvm.autoload()
    assert PIPELINE_MAP["lowtide"] is lowtide.tvm.pipeline
    lowtide.tvm.autoload()
    monkeypatch.setitem(sys.modules, "tvm.relax.pipeline", None)
    lowtide.tvm.autoload()


def test_the_installed_package_is_known_to_tvm_by_name() -> None:
    points = distribution("lowtide").entry_points.select(group="tvm.backends")
    assert [point.value for point in points] == ["lowtide.tvm:autoload"]
    program = (
        "import sys, tvm\n"
        "from tvm import relax\n"
        "assert not [m for m in sys.modules if m.startswith('lowtide.') and m != 'lowtide.tvm']\n"
        "builder = relax.BlockBuilder()\n"
        "x = relax.Var('x', relax.TensorType([8, 8], 'float32'))\n"
        "with builder.function('main', [x]):\n"
        "    y = builder.emit(relax.op.nn.softmax(x))\n"
        "    builder.emit_func_output(builder.emit(relax.op.matmul(y, y)))\n"
        "ex = tvm.compile(builder.get(), target='llvm', relax_pipeline='lowtide')\n"
        "assert 'lowtide.targets.tvm_pipeline' in sys.modules\n"
        "assert ex.as_text().count('call  vm.builtin.alloc_storage') == 2\n"
    )
    subprocess.run([sys.executable, "-c", program], env={"PATH": ""}, check=True, timeout=120)


def test_packed_functions_and_match_cast_keep_their_places() -> None:
    import tvm
    import tvm_ffi
    from tvm import relax
    from tvm.ir import Var

    def double(array: tvm.runtime.Tensor) -> tvm.runtime.Tensor:
        return tvm.runtime.tensor(2 * array.numpy())

    tvm_ffi.register_global_func("lowtide.test.double", double, override=True)
    rows = Var("rows", "int64")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType(None, "float32", ndim=2))
    with builder.function("main", [x]):
        known = relax.TensorType([rows, 3], "float32")
        cast_x = builder.match_cast(x, known)
        a = builder.emit(relax.op.add(cast_x, cast_x))
        b = builder.emit(relax.op.nn.softmax(a))
        c = builder.emit(relax.op.call_pure_packed("lowtide.test.double", b, ty_args=known))
        d = builder.emit(relax.op.multiply(c, a))
        builder.emit_func_output(builder.emit(relax.op.nn.softmax(d)))
    pipeline = lowtide.tvm.pipeline(bounds={"rows": 5})
    module = builder.get()
    values = sample(4, 3)
    ours = run(module, pipeline, values)
    assert ours[0].tobytes() == run(module, stock(), values)[0].tobytes()
    assert "the order of `main` is kept" in pipeline.notes[0]
    assert any("`lowtide.test.double` sees it" in note for note in pipeline.notes)
    assert pipeline.plans["main"].arena_bytes > 0
    with pytest.raises(ValueError, match=r"`rows` is outside of .0, 5"):
        run(module, pipeline, sample(6, 3))


def random_module(seed: int) -> tuple[tvm.IRModule, Sequence[NDArray[np.float32]]]:
    """A random network of matmuls, sums, views and concatenations with two results."""
    from tvm import relax

    rng = np.random.default_rng(seed)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType([6, 4], "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            made: list[object] = [x]
            for _ in range(12):
                one, other = (made[int(rng.integers(len(made)))] for _ in range(2))
                match int(rng.integers(5)):
                    case 0:
                        value = relax.op.add(one, other)
                    case 1:
                        wide = builder.emit(relax.op.concat([one, other], axis=1))
                        value = relax.op.matmul(wide, relax.const(sample(8, 4) / 3))
                    case 2:
                        turned = builder.emit(relax.op.reshape(one, [4, 6]))
                        value = relax.op.reshape(turned, [6, 4])
                    case 3:
                        value = relax.op.nn.softmax(one)
                    case _:
                        parts = builder.emit(relax.op.split(one, 2, axis=1))
                        value = relax.op.concat([parts[1], parts[0]], axis=1)
                made.append(builder.emit(value))
            results = relax.Tuple([builder.emit_output(made[-1]), builder.emit_output(made[-4])])
        builder.emit_func_output(results)
    return builder.get(), [sample(6, 4)]


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_give_the_same_bits(seed: int) -> None:
    module, inputs = random_module(seed)
    pipeline = lowtide.tvm.pipeline()
    ours = run(module, pipeline, *inputs)
    theirs = run(module, stock(), *inputs)
    assert pipeline.plans.keys() == {"main"}
    for one, other in zip(ours, theirs, strict=True):
        assert one.tobytes() == other.tobytes()
