"""Small TFLite models made through the schema that Google generates."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

__all__ = ["tflite_bytes"]


def tflite_bytes(
    kinds: Sequence[str] = ("RELU", "ADD"),
    *,
    custom: Sequence[str] = (),
    names: tuple[str, str] = ("image", "scores"),
    quantized: bool = True,
    shape: Sequence[int] = (1, 4),
) -> bytes:
    """A chain of operators on int8 tensors, one after the other; ADD adds a tensor to itself.

    Args:
        kinds: builtin operators.
        custom: codes of custom operators that follow.
        names: of the input and the output.
        quantized: whether the tensors have a scale.
        shape: of every tensor.
    """
    schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    flatbuffers: Any = importlib.import_module("flatbuffers")
    model = schema.ModelT()
    model.version, model.description = 3, "made for a test"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    count = len(kinds) + len(custom)
    for number in range(count + 1):
        tensor = schema.TensorT()
        tensor.name = names[0] if number == 0 else names[1] if number == count else f"t{number}"
        tensor.shape, tensor.type = list(shape), schema.TensorType.INT8
        if quantized:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1], [-3]
        graph.tensors.append(tensor)
    codes: dict[str, int] = {}
    operator_codes: list[Any] = []
    for number, kind in enumerate([*kinds, *custom]):
        own = number >= len(kinds)
        key = f"{own}{kind}"
        if key not in codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, "CUSTOM" if own else kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.customCode, code.version = (kind if own else None), 1
            codes[key] = len(operator_codes)
            operator_codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = codes[key]
        operator.inputs = [number, number] if kind == "ADD" else [number]
        operator.outputs = [number + 1]
        if kind == "ADD":
            operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
            operator.builtinOptions = schema.AddOptionsT()
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [count]
    model.operatorCodes, model.subgraphs = operator_codes, [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
