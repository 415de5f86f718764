"""Measured costs: how long every distinct op takes, and the scratch memory that it uses.

A network repeats few ops: those of equal operator, attributes, operand types and constant operands
are run once, alone, in a child process, on made-up numbers, and the result is kept on disk.

    op ─▶ key (sha256) ─▶ cache? ─▶ else: child runs the one-op graph, traced
                                        time = the least of its runs
                                        workspace = its peak allocation - its results

Ops with state, resources or bodies are not run: their cost is the model's, their scratch unknown.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide import child
from lowtide.tensorflow_types import TfOperation, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Graph, Op

__all__ = ["default_cache", "known_operand", "profile_ops"]

_VERSION = 2
_RUNS = 4
_TIMEOUT_S = 900.0
_MAX_CONSTANT = 1 << 16  # bytes of a constant operand that belongs to the key
_BODIES = frozenset({"f", "then_branch", "else_branch", "body", "cond", "branches"})


def default_cache() -> Path:
    """Where measured costs are kept: under `XDG_CACHE_HOME`, else the home's `.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "lowtide" / "tensorflow-ops.json"


def profile_ops(graph: Graph, *, cache: Path | None = None) -> int:
    """Set `cost` and `workspace_bytes` of the graph's ops from measurements.

    Args:
        graph: from `frontends.tensorflow.import_function`.
        cache: a JSON file to read and extend; None measures all anew.

    Returns:
        How many distinct ops were run.

    Raises:
        ChildError: the process that runs them died.
    """
    keys: dict[str, list[Op]] = {}
    for op in graph.ops:
        operation = cast("TfOperation", op.source)
        if op.traits.view or not _can_run(operation):
            op.workspace_known = op.traits.view or _no_scratch(operation)
            continue
        keys.setdefault(_key(operation), []).append(op)
    known = _read(cache)
    missing = [key for key in keys if key not in known]
    if missing:
        known.update(_run({k: cast("TfOperation", keys[k][0].source) for k in missing}))
        _write(cache, known)
    for key, ops in keys.items():
        seconds, workspace = known.get(key, (None, None))
        for op in ops:
            op.cost = seconds
            # Alone, a max pooling lacks the edge to its gradient, and either takes scratch instead.
            paired = any(t.name.endswith("@winners") for t in (*op.operands, *op.outputs))
            op.workspace_bytes = 0 if paired else int(workspace or 0)
            op.workspace_known = workspace is not None
    return len(missing)


def _can_run(operation: TfOperation) -> bool:
    if operation.op_def.is_stateful or operation.type == "NoOp":
        return False
    tensors = [*operation.inputs, *operation.outputs]
    if any(t.dtype.name in ("resource", "variant", "string") for t in tensors):
        return False
    node: Any = operation.node_def
    return not _BODIES & set(node.attr)


def _no_scratch(operation: TfOperation) -> bool:
    """Kernels with state that are known to take no scratch memory."""
    words = ("NoOp", "Assign", "Apply", "Random", "Read", "Gather", "Scatter")
    return any(word in operation.type for word in words)


# Operands that hold the shape of the result, which the trace knows though it computes them.
_RESULT_SHAPE = {
    "BroadcastTo": 1,
    "Conv2DBackpropFilter": 1,
    "Conv2DBackpropInput": 0,
    "Conv3DBackpropFilterV2": 1,
    "Conv3DBackpropInputV2": 0,
    "DepthwiseConv2dNativeBackpropFilter": 1,
    "DepthwiseConv2dNativeBackpropInput": 0,
    "Fill": 0,
    "Slice": 2,
}


def known_operand(operation: TfOperation, index: int) -> Any:
    """The value of an operand that is known and small enough to matter, else None.

    Made-up sizes would be none: a kernel that is told to make nothing takes no time.
    """
    tensor: Any = operation.inputs[index]
    result: Any = operation.outputs[0].shape if operation.outputs else None
    if tensor.op.type != "Const" and result is not None and result.is_fully_defined():
        kind = tensor.dtype.as_numpy_dtype
        if _RESULT_SHAPE.get(operation.type) == index:
            return np.asarray(result.as_list(), kind)
        if operation.type == "Tile" and index == 1:
            operand = cast("Any", operation.inputs[0]).shape
            if operand.is_fully_defined() and 0 not in operand.as_list():
                return np.asarray(result.as_list(), kind) // np.asarray(operand.as_list(), kind)
    if tensor.op.type != "Const":
        return None
    value = load_tensorflow("tensorflow.python.framework.tensor_util").MakeNdarray(
        tensor.op.node_def.attr["value"].tensor
    )
    return value if value.nbytes <= _MAX_CONSTANT else None


def _key(operation: TfOperation) -> str:
    node: Any = operation.node_def
    digest = hashlib.sha256(operation.type.encode())
    for name in sorted(node.attr):
        if not name.startswith("_"):
            digest.update(name.encode())
            digest.update(node.attr[name].SerializeToString(deterministic=True))
    for index, tensor in enumerate(operation.inputs):
        digest.update(f"{tensor.dtype.name}{tensor.shape.as_list()}".encode())
        value = known_operand(operation, index)
        if value is not None:
            digest.update(value.tobytes())
    digest.update(_machine().encode())
    return digest.hexdigest()[:32]


def _machine() -> str:
    tensorflow = load_tensorflow()
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
    onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "")
    parts = (_VERSION, tensorflow.__version__, platform.machine(), os.cpu_count(), threads, onednn)
    return "|".join(map(str, parts))


_Costs = dict[str, tuple[float | None, int | None]]


def _read(cache: Path | None) -> _Costs:
    if cache is None:
        return {}
    try:
        loaded = cast("Mapping[str, tuple[float, int]]", json.loads(cache.read_text()))
        return {key: (float(v[0]), int(v[1])) for key, v in loaded.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return {}  # none yet, or damaged: measured anew


def _write(cache: Path | None, known: _Costs) -> None:
    if cache is None:
        return
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f"{cache.name}.{os.getpid()}")
    partial.write_text(json.dumps({k: v for k, v in known.items() if v[0] is not None}))
    partial.replace(cache)


def _run(operations: Mapping[str, TfOperation]) -> _Costs:
    """Measure one op for each key in a child process."""
    tensorflow = load_tensorflow()
    graph: Any = tensorflow.Graph()
    feeds: dict[str, dict[str, list[str]]] = {}
    placeholders: dict[tuple[str, tuple[int, ...]], Any] = {}
    with graph.as_default():
        for key, operation in operations.items():
            inputs: list[Any] = []
            for index, tensor in enumerate(operation.inputs):
                value = known_operand(operation, index)
                if value is not None:
                    inputs.append(tensorflow.constant(value, tensor.dtype))
                    continue
                kind = tensor.dtype.name, tuple(tensor.shape.as_list())
                if kind not in placeholders:
                    placeholders[kind] = tensorflow.compat.v1.placeholder(tensor.dtype, kind[1])
                inputs.append(placeholders[kind])
            node: Any = operation.node_def
            graph.create_op(
                operation.type,
                inputs,
                [t.dtype for t in operation.outputs],
                name=f"op_{key}",
                attrs={k: v for k, v in node.attr.items() if not k.startswith("_")},
                compute_device=False,
            )
            used = {i.name for i in inputs if i.op.type == "Placeholder"}
            results = sum(_nbytes(t) for t in operation.outputs)
            feeds[key] = {"feeds": sorted(used), "results": [str(results)]}
    with tempfile.TemporaryDirectory(prefix="lowtide-tf-") as folder:
        path = Path(folder, "ops.pb")
        path.write_bytes(graph.as_graph_def().SerializeToString())
        reply = child.run(
            "lowtide.backends.tensorflow.profile:profile_child",
            {"graph": str(path), "ops": feeds, "threads": _threads()},
            timeout_s=_TIMEOUT_S,
        )
    found: _Costs = {}
    for key, pair in cast("dict[str, tuple[float | None, int | None]]", reply).items():
        found[key] = pair[0], pair[1]
    return found


def _threads() -> int:
    return int(load_tensorflow().config.threading.get_intra_op_parallelism_threads())


def _nbytes(tensor: Any) -> int:
    if not tensor.shape.is_fully_defined():
        return 0
    return int(np.prod(tensor.shape.as_list(), dtype=np.int64)) * int(tensor.dtype.size)


def profile_child(request: dict[str, object]) -> dict[str, object]:
    """The child's side: seconds and workspace of every op, null where it could not be run."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    tensorflow = load_tensorflow()
    v1 = tensorflow.compat.v1
    definition = v1.GraphDef()
    definition.ParseFromString(Path(str(request["graph"])).read_bytes())
    graph = tensorflow.Graph()
    with graph.as_default():
        tensorflow.import_graph_def(definition, name="")
    config = v1.ConfigProto(
        intra_op_parallelism_threads=int(str(request["threads"])), inter_op_parallelism_threads=1
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE)
    generator = np.random.default_rng(0)
    found: dict[str, object] = {}
    with v1.Session(graph=graph, config=config) as session:
        for key, entry in cast("dict[str, dict[str, list[str]]]", request["ops"]).items():
            feeds = {name: _made_up(graph, name, generator) for name in entry["feeds"]}
            target = graph.get_operation_by_name(f"op_{key}")
            try:
                found[key] = _measured(session, target, feeds, options, int(entry["results"][0]))
            except tensorflow.errors.OpError:  # made-up numbers that the kernel refuses
                found[key] = (None, None)
    return found


def _measured(
    session: Any, target: Any, feeds: Any, options: Any, results: int
) -> tuple[float | None, int | None]:
    tensorflow = load_tensorflow()
    seconds: list[float] = []
    peaks: list[int] = []
    for run in range(_RUNS):
        metadata = tensorflow.compat.v1.RunMetadata()
        session.run(target, feeds, options=options, run_metadata=metadata)
        for device in metadata.step_stats.dev_stats:
            for node in device.node_stats:
                if node.node_name == target.name and run > 0:
                    seconds.append((node.op_end_rel_nanos - node.op_start_rel_nanos) / 1e9)
                    peaks.append(sum(m.peak_bytes for m in node.memory))
    if not seconds:
        return None, None
    return max(min(seconds), 1e-7), max(0, max(peaks) - results)


def _made_up(graph: Any, name: str, generator: np.random.Generator) -> Any:
    tensor = graph.get_tensor_by_name(name)
    shape = cast("tuple[int, ...]", tuple(tensor.shape.as_list()))
    if tensor.dtype.is_floating:
        return generator.uniform(0.01, 0.1, shape).astype(tensor.dtype.as_numpy_dtype)
    return np.zeros(shape, tensor.dtype.as_numpy_dtype)
