"""Run one node in ONNX Runtime and see what its kernel does with memory.

    x -> Concat -> a -> [before] -> NODE -> [after] -> y -> Unsqueeze -> Concat -> v

Producer and consumer are Concats of one operand, which neither alias nor run in place (Unsqueeze is
a view; it lets scalars through). `before` and
`after` allocate blocks of a size found nowhere else, so that the allocations of the node's own run
can be cut out of the meter's log. A result with no allocation of its own is a view or in place.
"""

# pyright: reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false
# ORT's native module has no stubs.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lowtide.frontends.onnx.kernels import KernelQuery, TensorType
from lowtide.ir.dtype import nbytes as dense_nbytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime as ort

    from lowtide.backends.meter import Event, Meter
    from lowtide.ir.op import Attribute

__all__ = ["Case", "Probe", "predict", "probe", "query_of"]

_BEFORE, _AFTER = 256 * 1021, 256 * 1031
_ALIGNMENT = 64  # ORT rounds the size of every block up to this (kAllocAlignment)
_ORT_TYPES = {
    f"tensor({theirs})": ours
    for theirs, ours in {
        "float": "float32",
        "double": "float64",
        "string": "opaque",
        **{name: name for name in ("float16", "bfloat16", "bool", "int4", "uint4")},
        **{
            f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
        },
        **{name: name for name in ("float8e4m3fn", "float8e4m3fnuz", "float8e5m2")},
        **{name: name for name in ("float8e5m2fnuz", "complex64", "complex128")},
    }.items()
}
_OPSETS = {"": 21, "com.microsoft": 1, "com.microsoft.nchwc": 1, "ai.onnx.ml": 3}


@dataclass(frozen=True)
class Case:
    """One node with its operands.

    Attributes:
        name: for the report.
        node: the node; the names of its inputs and outputs do not matter, only which are empty.
        inputs: one array per input, None where the name is empty.
        constant: indices of the inputs that are initializers.
        opset: version of ONNX's own domain.
        threads: intra-op threads.
    """

    name: str
    node: onnx.NodeProto
    inputs: tuple[np.ndarray | None, ...]
    constant: frozenset[int] = frozenset()
    opset: int = 21
    threads: int = 1


@dataclass(frozen=True)
class Probe:
    """What was seen.

    Attributes:
        query: the node as `kernel_memory` sees it.
        own: per output, whether it got storage of its own (None where it was not asked for, or is
            empty).
        reused: sizes of the operands' buffers that outlived the node, though nobody reads them.
        workspace_bytes: aligned bytes above results and operands, at the highest point.
        plain_bytes: the same for what the kernel takes from malloc directly (vectors and the like).
        kept_bytes: aligned bytes that are neither results nor were given back: MLAS keeps a buffer
            for quantized GEMMs per thread, made when a thread first works on one.
    """

    query: KernelQuery
    own: tuple[bool | None, ...]
    reused: tuple[int, ...]
    workspace_bytes: int
    plain_bytes: int
    kept_bytes: int


def probe(case: Case, meter: Meter) -> Probe:
    """Run the case twice in this process, which needs the meter; the second run counts."""
    import onnxruntime as ort

    model, feeds = _model(case)
    session = ort.InferenceSession(
        model.SerializeToString(), _options(case), ["CPUExecutionProvider"]
    )
    values = {k: ort.OrtValue.ortvalue_from_numpy(v) for k, v in feeds.items()}
    session.run_with_ort_values(None, values)
    with meter.log(everything=True) as events:
        results = session.run_with_ort_values(None, values)
    found = {
        output.name: TensorType(_ORT_TYPES[value.data_type()], tuple(value.shape()[1:]))
        for output, value in zip(session.get_outputs(), results, strict=True)
    }
    types = [found.get(f"v{i}") if name else None for i, name in enumerate(case.node.output)]
    query = query_of(case, tuple(types))
    return _analyse(query, events)


def query_of(case: Case, outputs: tuple[TensorType | None, ...]) -> KernelQuery:
    """The query for a case whose result types are known."""
    inputs = tuple(
        None if a is None else TensorType(_numpy_dtype(a), tuple(a.shape)) for a in case.inputs
    )
    return KernelQuery(
        domain=case.node.domain,
        kind=case.node.op_type,
        version=_OPSETS[case.node.domain] if case.node.domain else case.opset,
        attributes=_attributes(case.node),
        inputs=inputs,
        outputs=outputs,
        constant=tuple(i in case.constant for i in range(len(inputs))),
        threads=case.threads,
    )


def predict(query: KernelQuery) -> tuple[tuple[bool | None, ...], int, bool]:
    """Which results get storage of their own when no operand is read later, and the workspace."""
    from lowtide.frontends.onnx.kernels import kernel_memory

    memory = kernel_memory(query)
    taken: set[int] = set()
    own: list[bool | None] = []
    for output, kind in enumerate(query.outputs):
        if kind is None or not _nbytes(kind):
            own.append(None)
            continue
        aliased = [i for o, i in memory.aliases if o == output]
        free = [
            c.input
            for c in memory.in_place
            if c.output == output
            and c.input not in taken
            and c.input < len(query.inputs)
            and not query.constant[c.input]
            and (operand := query.inputs[c.input]) is not None
            and operand.shape != ()
        ]
        if not aliased and free:
            taken.add(free[0])
        own.append(not aliased and not free)
    return tuple(own), memory.workspace_bytes, memory.workspace_known


# ------------------------------------------------------------------ the model around the node


def _model(case: Case) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    nodes: list[onnx.NodeProto] = []
    inputs: list[onnx.ValueInfoProto] = []
    constants: list[onnx.TensorProto] = []
    outputs: list[onnx.ValueInfoProto] = []
    feeds: dict[str, np.ndarray] = {}
    operands: list[str] = []
    for index, array in enumerate(case.inputs):
        if array is None:
            operands.append("")
        elif index in case.constant:
            constants.append(numpy_helper.from_array(array, f"c{index}"))
            operands.append(f"c{index}")
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(f"x{index}", kind, array.shape))
            feeds[f"x{index}"] = array
            if array.ndim:
                nodes.append(helper.make_node("Concat", [f"x{index}"], [f"a{index}"], axis=0))
            operands.append(f"a{index}" if array.ndim else f"x{index}")
    node = onnx.NodeProto()
    node.CopyFrom(case.node)
    del node.input[:], node.output[:]
    node.input.extend(operands)
    node.output.extend(f"y{i}" if name else "" for i, name in enumerate(case.node.output))
    node.name = "probed"
    nodes += [_sentinel("before"), node, _sentinel("after")]
    constants.append(numpy_helper.from_array(np.zeros(_BEFORE // 2, np.uint8), "c_before"))
    constants.append(numpy_helper.from_array(np.zeros(_AFTER // 2, np.uint8), "c_after"))
    constants.append(numpy_helper.from_array(np.zeros(1, np.int64), "c_axis"))
    for index, name in enumerate(node.output):
        if name:
            nodes += [
                helper.make_node("Unsqueeze", [name, "c_axis"], [f"u{index}"]),
                helper.make_node("Concat", [f"u{index}"], [f"v{index}"], axis=0),
            ]
            outputs.append(onnx.ValueInfoProto(name=f"v{index}"))
    outputs += [onnx.ValueInfoProto(name="s_before"), onnx.ValueInfoProto(name="s_after")]
    graph = helper.make_graph(nodes, "probe", inputs, outputs, constants)
    opsets = {**_OPSETS, "": case.opset}
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()], ir_version=10
    )
    return model, feeds


def _sentinel(name: str) -> onnx.NodeProto:
    return helper.make_node("Concat", [f"c_{name}", f"c_{name}"], [f"s_{name}"], axis=0)


def _options(case: Case) -> ort.SessionOptions:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = options.enable_mem_pattern = options.enable_mem_reuse = False
    options.intra_op_num_threads = case.threads
    return options


# ------------------------------------------------------------------ what the log says


def _analyse(query: KernelQuery, events: Sequence[Event]) -> Probe:
    begin = next(i for i, e in enumerate(events) if e.aligned and e.nbytes == _BEFORE)
    end = next(i for i, e in enumerate(events) if e.aligned and e.nbytes == _AFTER)
    operands = [e.address for e in events[:begin] if e.aligned and e.nbytes > 0]
    window = events[begin + 1 : end]
    plain = peak = plain_peak = total = 0
    alive: dict[int, int] = {}
    released: set[int] = set()
    for event in window:
        if not event.aligned:
            plain += event.nbytes
            plain_peak = max(plain_peak, plain)
        elif event.nbytes > 0:
            alive[event.address] = event.nbytes
            total += event.nbytes
            peak = max(peak, total)
        elif event.address in alive:
            total += event.nbytes
            del alive[event.address]
        else:
            released.add(event.address)
    blocks = list(alive.values())
    own: list[bool | None] = []
    results = 0
    for kind in query.outputs:
        nbytes = 0 if kind is None else _nbytes(kind)
        if not nbytes:
            own.append(None)
        elif nbytes in blocks:
            blocks.remove(nbytes)
            results += nbytes
            own.append(True)
        else:
            own.append(False)
    reused = [
        e.nbytes
        for e in events[:begin]
        if e.aligned and e.nbytes > 0 and e.address in operands and e.address not in released
    ]
    return Probe(
        query=query,
        own=tuple(own),
        reused=tuple(reused),
        workspace_bytes=max(0, peak - results - sum(blocks)),
        plain_bytes=plain_peak,
        kept_bytes=sum(blocks),
    )


def _nbytes(kind: TensorType) -> int:
    strings = kind.dtype == "opaque"  # a std::string is 32 bytes
    nbytes = math.prod(kind.shape) * 32 if strings else dense_nbytes(kind.dtype, kind.shape)
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _numpy_dtype(array: np.ndarray) -> str:
    return "opaque" if array.dtype.kind in "OUS" else str(array.dtype)


def _attributes(node: onnx.NodeProto) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    for proto in node.attribute:
        value = helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            attributes[proto.name] = value.decode()
        elif isinstance(value, int | float | str):
            attributes[proto.name] = value
        elif isinstance(value, list):
            items = [v.decode() if isinstance(v, bytes) else v for v in value]
            if all(isinstance(v, int | float | str) for v in items):
                attributes[proto.name] = cast("Attribute", tuple(items))
    return attributes
