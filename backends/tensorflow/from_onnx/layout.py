"""The transposes that are left in what was emitted, and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lowtide.backends.tensorflow.from_onnx.conversion import Place, Remaining

__all__ = ["in_graph", "in_tflite"]

# Ops that a transpose at the border of a graph may have between it and the border.
_PASSING = ("Identity", "Cast", "NoOp")


def in_graph(function: Any) -> tuple[Remaining, ...]:
    """Those of a concrete function that its outputs depend on."""
    wanted: dict[str, Any] = {}
    ahead = [tensor.op for tensor in function.outputs]
    results = {op.name for op in ahead}
    while ahead:
        op = ahead.pop()
        if op.name in wanted:
            continue
        wanted[op.name] = op
        ahead += [tensor.op for tensor in op.inputs]
    return tuple(
        Remaining(op.name, tuple(op.outputs[0].shape.as_list() or ()), _border(op, results))
        for op in function.graph.get_operations()
        if op.name in wanted and op.type == "Transpose" and op.outputs[0].shape.rank is not None
    )


def _border(op: Any, results: set[str]) -> Place:
    source = op.inputs[0].op
    while source.type in _PASSING and source.inputs:
        source = source.inputs[0].op
    if source.type == "Placeholder":
        return "input"
    after = [op]
    users = _users(op)
    while len(after) < 8 and len(users) == 1 and users[0].type in _PASSING:
        after.append(users[0])
        users = _users(users[0])
    return "output" if not users or any(one.name in results for one in after) else "inside"


def _users(op: Any) -> list[Any]:
    return [user for tensor in op.outputs for user in tensor.consumers()]


def in_tflite(model: Any, code: int) -> Iterator[Remaining]:
    """Those of a parsed .tflite; `code` is the builtin operator TRANSPOSE."""
    for graph in model.subgraphs:
        made = {int(t): op for op in graph.operators for t in op.outputs}
        read = {int(t) for op in graph.operators for t in op.inputs}
        inputs, outputs = {int(t) for t in graph.inputs}, {int(t) for t in graph.outputs}
        for op in graph.operators:
            kind = model.operatorCodes[op.opcodeIndex]
            if max(kind.builtinCode, kind.deprecatedBuiltinCode) != code:
                continue
            source, result = int(op.inputs[0]), int(op.outputs[0])
            place: Place = "inside"
            if source in inputs or source not in made:
                place = "input"
            elif result in outputs and result not in read:
                place = "output"
            tensor = graph.tensors[result]
            name = tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name)
            yield Remaining(name, tuple(int(size) for size in tensor.shape), place)
