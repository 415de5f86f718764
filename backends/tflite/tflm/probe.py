"""The scratch of one operator: run it alone, and see by how much the head exceeds its tensors.

The operator is cut out into a model of its own: the same options, shapes, quantization and weights;
its operands become inputs and its results outputs. All of them are alive in its only scope, so that
the head is their sum plus the scratch. This is the child's side; see `scratch`.
"""

from __future__ import annotations

import hashlib
import importlib
from typing import Any, cast

from lowtide.backends.tflite.tflm.interpreter import (
    captured,
    enough,
    load,
    measure_head,
    open_interpreter,
)
from lowtide.backends.tflite.tflm.trace import entries, hook
from lowtide.errors import MissingExtraError, ModelError

__all__ = ["probe"]

_ALIGNMENT = 16
_IDENTIFIER = b"TFL3"


def probe(request: dict[str, object]) -> dict[str, object]:
    """The scratch of every operator, alone.

    Request: `model` (a path), `limit`, `arena` ([subgraph, tensor, bytes] of its tensors),
    `handles` ([subgraph, tensor] that a kernel keeps outside). Reply: `scratch`, a list of
    [subgraph, operator, sizes or None]; None where TFLM does not take the operator alone.
    """
    schema = _schema()
    data = load(request["model"])
    limit = int(cast("int", request["limit"]))
    sizes = {(int(s), int(t)): int(n) for s, t, n in cast("list[list[int]]", request["arena"])}
    handles = {(int(s), int(t)) for s, t in cast("list[list[int]]", request["handles"])}
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    known: dict[bytes, list[int] | None] = {}
    found: list[list[object]] = []
    for number, subgraph in enumerate(whole.subgraphs):
        for index in range(len(subgraph.operators or ())):
            cut, live = _alone(schema, whole, number, index, sizes, handles)
            key = hashlib.sha256(cut + repr(live).encode()).digest()
            if key not in known:
                known[key] = _scratch(cut, live, limit)
            found.append([number, index, known[key]])
    return {"scratch": found}


def _schema() -> Any:
    try:
        return importlib.import_module(
            "tflite_micro.tensorflow.lite.micro.python.schema_py_generated"
        )
    except ImportError as error:
        raise MissingExtraError(
            "measuring kernels' scratch needs the package tflite-micro: "
            'pip install "lowtide[edge]"'
        ) from error


def _alone(
    schema: Any,
    whole: Any,
    number: int,
    index: int,
    sizes: dict[tuple[int, int], int],
    handles: set[tuple[int, int]],
) -> tuple[bytes, int]:
    """The one-operator model, and the bytes of its tensors in the arena."""
    flatbuffers = importlib.import_module("flatbuffers")
    subgraph = whole.subgraphs[number]
    operator = subgraph.operators[index]
    inputs = [int(t) for t in (operator.inputs if operator.inputs is not None else ())]
    outputs = [int(t) for t in (operator.outputs if operator.outputs is not None else ())]
    middle = operator.intermediates
    between = [int(t) for t in (middle if middle is not None else ())]
    used = list(dict.fromkeys(t for t in (*inputs, *outputs, *between) if t >= 0))
    place = {t: i for i, t in enumerate(used)}
    model, cut, op, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), None
    code = whole.operatorCodes[operator.opcodeIndex]
    model.version, model.operatorCodes, model.buffers = 3, [code], [schema.BufferT()]
    cut.tensors = []
    for tensor in used:
        copy = schema.TensorT()
        copy.__dict__.update(subgraph.tensors[tensor].__dict__)
        held = whole.buffers[copy.buffer]
        if held.data is not None and len(held.data):
            model.buffers.append(held)
            copy.buffer = len(model.buffers) - 1
        else:
            copy.buffer = 0
        copy.name = None
        cut.tensors.append(copy)
    op.__dict__.update(operator.__dict__)
    op.opcodeIndex = 0
    op.inputs = [place.get(t, -1) for t in inputs]
    op.outputs = [place.get(t, -1) for t in outputs]
    if between:
        op.intermediates = [place[t] for t in between]
    cut.operators = [op]
    live = [t for t in dict.fromkeys((*inputs, *outputs)) if (number, t) in sizes]
    cut.inputs = [place[t] for t in live if t not in outputs]
    cut.outputs = [place[t] for t in live if t in outputs]
    model.subgraphs = [cut]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    taken = [t for t in live if t not in outputs or (number, t) not in handles]
    return bytes(builder.Output()), sum(sizes[number, t] for t in taken)


def _scratch(data: bytes, live: int, limit: int) -> list[int] | None:
    try:
        arena = enough(lambda size: open_interpreter(data, size), limit)
    except ModelError:
        return None
    total = measure_head(data, arena) - live
    if total < 0:
        return None
    if total and hook():
        with captured() as text:
            open_interpreter(data, arena)
            printed = text()
        sizes = [size for size, _, _, _ in entries(printed)]
        # Tensors come first: what follows the bytes that they take is scratch.
        taken = 0
        while sizes and taken < live:
            taken += sizes.pop(0)
        if taken == live and sum(sizes) == total:
            return sizes
    return [total] if total else []
