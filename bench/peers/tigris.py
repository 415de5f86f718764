"""TiGrIS (tigris-ml) on a model file: its order, its peak, and its plans within budgets.

TiGrIS reads a file, sorts its operators depth first, fuses some of them, and cuts the sequence into
stages that fit a budget of fast memory; what crosses a cut is spilled to slow memory, and stages
that do not fit run in tiles. Its wheel has a runtime for this machine, which says how much of both
memories a run took.

    answer = ask(path)                   in a child process, which may crash or hang
    problem = problem_of(answer.graph)   its graph, its definition of memory, our scheduling problem

Its definition of the peak (`analysis/lifetime.py` and `memory.py` of 0.12.1), which `problem_of`
states in our terms:

- inputs count from the start to their last reader, outputs to the end;
- sizes are rounded up to 32 bytes;
- a reshape that moves nothing shares its operand's bytes and makes none;
- a result lies beside all operands: nothing is written in place, but activations are fused into
  what comes before them;
- kernels' workspace and constants do not count.

It says nothing about offsets: its runtime moves tensors together when they do not fit, so that the
peak itself is what it needs.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# TiGrIS has no type annotations to speak of.

from __future__ import annotations

import copy
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lowtide import child
from lowtide.errors import LowtideError
from lowtide.ir import Accounting
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ACCOUNTING",
    "Answer",
    "Graph",
    "Op",
    "Plan",
    "ask",
    "graph_of",
    "problem_of",
    "serve",
]

ACCOUNTING = Accounting(
    inputs_in_arena=True, outputs_live_to_end=True, alignment=32, in_place=False
)

_HALVINGS = 12  # of the budget, at most


@dataclass(frozen=True, slots=True)
class Op:
    """An operator of TiGrIS's graph; only activations are among the inputs."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """TiGrIS's graph after its fusions.

    Attributes:
        ops: in its order.
        sizes: bytes of every activation, as they are.
        aliases: the results of reshapes, and whose bytes they share.
        inputs: of the model.
        outputs: of the model.
        peak_bytes: what TiGrIS says this order needs in one memory.
    """

    ops: tuple[Op, ...]
    sizes: dict[str, int]
    aliases: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan for a budget of fast memory; bytes.

    Attributes:
        budget: of fast memory.
        stages: between which everything is spilled.
        tiled: those that run in tiles.
        fast: what the plan says it needs of fast memory.
        slow: the same of slow memory, which holds the model's inputs and outputs.
        measured_fast: what its runtime took, if the plan was executed.
        measured_slow: the same of slow memory.
        moved: bytes that the run copied between the two.
        not_executed: why it was not, if that was wanted.
    """

    budget: int
    stages: int
    tiled: int
    fast: int
    slow: int
    measured_fast: int | None = None
    measured_slow: int | None = None
    moved: int | None = None
    not_executed: str = ""

    @property
    def total(self) -> int:
        """Of both memories: measured, or else what the plan says."""
        if self.measured_fast is None or self.measured_slow is None:
            return self.fast + self.slow
        return self.measured_fast + self.measured_slow


@dataclass(frozen=True, slots=True)
class Answer:
    """What TiGrIS makes of a file.

    Attributes:
        order: the results of each of the file's operators, in its order, before fusions. Operators
            whose results it computes beforehand are not among them.
        graph: after fusions.
        refused: why it would not compile the file; empty if it would.
        plans: those that fit, by falling budget: the peak (which makes one stage), its half, ...
    """

    order: tuple[tuple[str, ...], ...]
    graph: Graph
    refused: tuple[str, ...]
    plans: tuple[Plan, ...]


def ask(
    path: Path, *, execute: bool = True, timeout_s: float = 600.0, memory_bytes: int = 8 << 30
) -> Answer:
    """What TiGrIS makes of a model file (.onnx, .tflite).

    Args:
        path: the file.
        execute: whether to run the plan of one stage, that of the least fast memory, and that of
            the least sum of both memories.
        timeout_s: of the child process.
        memory_bytes: that the child process may take.

    Raises:
        ChildError: TiGrIS refuses to read the file, crashes or hangs.
    """
    reply = child.run(
        "lowtide.bench.peers.tigris:serve",
        {"path": str(path.resolve()), "execute": execute},
        timeout_s=timeout_s,
        memory_limit_bytes=memory_bytes,
    )
    graph = cast("dict[str, Any]", reply["graph"])
    return Answer(
        order=tuple(tuple(names) for names in cast("list[list[str]]", reply["order"])),
        graph=Graph(
            ops=tuple(
                Op(op["kind"], tuple(op["inputs"]), tuple(op["outputs"])) for op in graph["ops"]
            ),
            sizes=graph["sizes"],
            aliases=graph["aliases"],
            inputs=tuple(graph["inputs"]),
            outputs=tuple(graph["outputs"]),
            peak_bytes=graph["peak_bytes"],
        ),
        refused=tuple(cast("list[str]", reply["refused"])),
        plans=tuple(Plan(**entry) for entry in cast("list[dict[str, Any]]", reply["plans"])),
    )


def problem_of(graph: Graph) -> ScheduleProblem:
    """TiGrIS's graph under its definition of memory; node i is its i-th operator.

    The peak of the order 0, 1, 2, ... is what TiGrIS says of its own.

    Raises:
        LowtideError: an operator reads what none before it makes.
    """
    producer: dict[str, int] = dict.fromkeys(graph.inputs, -1)
    readers: dict[str, set[int]] = {}
    precedence: dict[tuple[int, int], None] = {}
    for node, op in enumerate(graph.ops):
        for name in op.inputs:
            if name not in producer:
                raise LowtideError(f"operator {node} ({op.kind}) reads `{name}` before it is made")
            readers.setdefault(graph.aliases.get(name, name), set()).add(node)
            if name in graph.aliases and producer[name] >= 0:
                precedence[(producer[name], node)] = None
        for name in op.outputs:
            producer[name] = node
    handed_out = {graph.aliases.get(name, name) for name in graph.outputs}
    buffers = [
        Buffer(
            ACCOUNTING.round_up(graph.sizes[name]),
            node,
            tuple(sorted(readers.get(name, set()) - {node})),
            name in handed_out,
        )
        for name, node in producer.items()
        if name not in graph.aliases
    ]
    return ScheduleProblem(
        num_nodes=len(graph.ops),
        buffers=tuple(buffers),
        precedence=tuple(precedence),
        inputs_in_arena=ACCOUNTING.inputs_in_arena,
        outputs_live_to_end=ACCOUNTING.outputs_live_to_end,
    )


def graph_of(analyzed: Any) -> Graph:
    """TiGrIS's own graph object (`AnalyzedGraph`), after its analysis of lifetimes and memory."""
    from tigris.analysis.lifetime import pure_reinterpretations

    def activations(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in analyzed.lifetimes)

    return Graph(
        ops=tuple(
            Op(op.op_type, activations(op.inputs), activations(op.outputs)) for op in analyzed.ops
        ),
        sizes={name: analyzed.tensors[name].size_bytes for name in analyzed.lifetimes},
        aliases=pure_reinterpretations(analyzed),
        inputs=activations(analyzed.model_inputs),
        outputs=activations(analyzed.model_outputs),
        peak_bytes=analyzed.peak_memory_bytes,
    )


def serve(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `ask`."""
    from tigris.analysis.lifetime import compute_lifetimes
    from tigris.analysis.memory import compute_memory_timeline
    from tigris.analysis.validation import validate_execution_dtype, validate_operator_support
    from tigris.loaders import load_model
    from tigris.loaders.onnx.loader import load_model as load_unfused

    path = Path(str(request["path"]))
    order = [[name for name in op.outputs if name] for op in load_unfused(path).ops]
    graph = compute_memory_timeline(compute_lifetimes(load_model(path)), capture_live_tensors=False)
    refused = [issue.describe() for issue in validate_operator_support(graph).issues]
    refused += validate_execution_dtype(graph).issues
    if graph.subgraphs:
        refused.append("operators with subgraphs")
    return {
        "order": order,
        "graph": asdict(graph_of(graph)),
        "refused": refused,
        "plans": [] if refused else _plans(graph, execute=bool(request["execute"])),
    }


def _plans(graph: Any, *, execute: bool) -> list[dict[str, object]]:
    """Those that fit, by falling budget, until none does."""
    from tigris.analysis.partition_spatial import detect_and_solve_chains, partition_spatial
    from tigris.analysis.partition_temporal import partition_temporal
    from tigris.analysis.validation import validate_budget

    found: list[dict[str, Any]] = []
    planned: list[Any] = []
    weights, graph.weight_data = graph.weight_data, {}
    for halving in range(_HALVINGS + 1):
        budget = graph.peak_memory_bytes >> halving
        if not 0 < budget < 1 << 32:
            break
        one = copy.deepcopy(graph)
        one.weight_data = weights
        one = detect_and_solve_chains(partition_spatial(partition_temporal(one, budget)))
        verdict = validate_budget(one)
        if not verdict.feasible:
            break
        tiled = sum(
            (bool(s.warnings) and s.tile_plan is not None and s.tile_plan.tileable)
            or s.chain_id != 0xFFFF
            for s in one.stages
        )
        planned.append(one)
        found.append(
            {
                "budget": budget,
                "stages": len(one.stages),
                "tiled": tiled,
                "fast": verdict.fast.scheduled_peak_bytes,
                "slow": verdict.slow.slow_peak_bytes,
            }
        )
    if execute and found:
        least = min(range(len(found)), key=lambda i: found[i]["fast"] + found[i]["slow"])
        for index in sorted({0, least, len(found) - 1}):
            found[index].update(_run(planned[index]))
    return found


def _run(graph: Any) -> dict[str, object]:
    """Compile the plan and run it once with zeros: the memory that its runtime took."""
    import numpy as np
    from tigris.emitters.binary.writer import emit_binary_bytes
    from tigris.runtime import Session

    try:
        with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
            path = Path(folder, "plan.tgrs")
            path.write_bytes(emit_binary_bytes(graph, names=True))
            with Session(path) as session:
                session.run({i["name"]: np.zeros(i["shape"], i["dtype"]) for i in session.inputs})
                memory, counters = session.memory, session.counters
    except (ValueError, OSError) as error:  # a library for this machine may be missing
        return {"not_executed": str(error)}
    return {
        "measured_fast": memory["fast_peak_bytes"],
        "measured_slow": memory["slow_peak_bytes"],
        "moved": counters["load_bytes"] + counters["spill_bytes"],
    }
