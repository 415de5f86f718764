"""An int8 or float32 twin of a uint8 model: its operators and shapes, weights made from a seed.

TFLite Micro refuses uint8 convolutions, so SwiftNet's published file does not run there; its twin
takes the same memory and does. All activations share one scale, with 0 at 0, which concatenations,
pools and sums accept as it is; weights are symmetric and random, scaled so that activations keep
their size. The outputs mean nothing. Of a float twin the weights are normal, and rewrites that
regroup sums apply to it. A section of operators makes a cell: what it reads of others becomes its
inputs, what others read its outputs.

    python -m lowtide.bench.swiftnet_twin swiftnet_vww224_uint8.tflite twin.tflite
    python -m lowtide.bench.swiftnet_twin swiftnet_vww224_uint8.tflite cell.tflite --float \
        --first 5 --last 33
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide import child
from lowtide.backends.tflite.tflm.feeds import feeds_for
from lowtide.errors import MissingExtraError, ModelError, VerificationError
from lowtide.frontends.tflite import read

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run_here", "twin", "verify"]

_SCALE = 0.05  # of activations: 6, where ReLU6 ends, is 120
_WEIGHT_SCALE = 1 / 256
_TOLERANCE = 1e-4  # of float outputs, relative to the largest
_MOST_BIAS = 512  # times the product of both scales: 0.1

# The versions of the operators that take int8.
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "SOFTMAX": 2,
    "SPLIT": 2,
}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def twin(
    data: bytes,
    seed: int = 0,
    *,
    floats: bool = False,
    first: int = 0,
    last: int | None = None,
) -> bytes:
    """The twin of a model, as a file's bytes.

    Args:
        data: the model.
        seed: of the weights.
        floats: whether it is of float32, not of int8.
        first: the first operator that is taken.
        last: the first one that is not; None to take all.

    Raises:
        ModelError: an operator that is not in SwiftNet.
        MissingExtraError: ai-edge-litert is missing.
    """
    schema, flatbuffers = _module("ai_edge_litert.schema_py_generated"), _module("flatbuffers")
    builtin: dict[str, Any] = {**vars(schema.BuiltinOperator)}
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    random: Any = np.random.default_rng(seed)
    kinds: list[str] = []
    for code in model.operatorCodes:
        number = int(max(code.builtinCode, code.deprecatedBuiltinCode))
        kind = next(name for name, value in builtin.items() if value == number)
        if kind not in _VERSIONS:
            raise ModelError(f"the twin knows no {kind}: only {', '.join(_VERSIONS)}")
        code.version = 1 if floats else _VERSIONS[kind]
        kinds.append(kind)
    (graph,) = model.subgraphs
    if first or last is not None:
        _cut(model, first, last)
    for tensor in graph.tensors:
        if floats:
            tensor.quantization = None
            if tensor.type == schema.TensorType.UINT8:
                tensor.type = schema.TensorType.FLOAT32
        elif tensor.type == schema.TensorType.UINT8:
            tensor.type = schema.TensorType.INT8
            tensor.quantization = _quantization(schema, _SCALE, 0)
    for op in graph.operators:
        kind = kinds[int(op.opcodeIndex)]
        if kind == "SOFTMAX" and not floats:  # both runtimes demand this scale of its result
            graph.tensors[op.outputs[0]].quantization = _quantization(schema, 1 / 256, -128)
        if kind not in _WEIGHTED:
            continue
        weights, bias = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2]]
        shape = [int(size) for size in weights.shape]
        fan_in = math.prod(shape[1:3]) if kind == "DEPTHWISE_CONV_2D" else math.prod(shape[1:])
        if floats:
            bias.type = schema.TensorType.FLOAT32
            normal = random.standard_normal(shape) * math.sqrt(2 / fan_in)
            _fill(schema, model, weights, normal.astype(np.float32))
            _fill(schema, model, bias, random.uniform(-0.1, 0.1, bias.shape[0]).astype(np.float32))
            continue
        # Uniform from -most to most, with the variance 2 / fan_in that keeps activations' size.
        most = min(127, round(math.sqrt(6.0 / fan_in) / _WEIGHT_SCALE))
        # SwiftNet's operators share weights and biases: all have the same scale, the last fills.
        weights.quantization = _quantization(schema, _WEIGHT_SCALE, 0)
        bias.quantization = _quantization(schema, _WEIGHT_SCALE * _SCALE, 0)
        _fill(schema, model, weights, random.integers(-most, most + 1, shape, dtype=np.int8))
        values = random.integers(-_MOST_BIAS, _MOST_BIAS + 1, bias.shape[0], dtype=np.int32)
        _fill(schema, model, bias, values)
    used = {tensor.buffer for tensor in graph.tensors}
    for number, buffer in enumerate(model.buffers):
        if number not in used:  # the source's weights
            buffer.data = None
    model.description = f"{'float32' if floats else 'int8'} twin with weights from seed {seed}"
    builder: Any = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _cut(model: Any, first: int, last: int | None) -> None:
    """Keep the operators from `first` up to `last`, without the latter, and their tensors."""
    (graph,) = model.subgraphs
    operators = list(graph.operators)
    inside = operators[first:last]
    outside = operators[:first] + operators[first + len(inside) :]
    made = [int(t) for op in inside for t in op.outputs]
    read = dict.fromkeys(int(t) for op in inside for t in op.inputs)
    wanted = {int(t) for op in outside for t in op.inputs} | {int(t) for t in graph.outputs}
    buffers = model.buffers
    stored = {i for i, t in enumerate(graph.tensors) if buffers[t.buffer].data is not None}
    kept = sorted({*read, *made})
    place = {old: new for new, old in enumerate(kept)}
    graph.inputs = [place[t] for t in read if t not in made and t not in stored]
    graph.outputs = [place[t] for t in made if t in wanted]
    graph.tensors = [graph.tensors[t] for t in kept]
    for op in inside:
        op.inputs, op.outputs = ([place[int(t)] for t in ts] for ts in (op.inputs, op.outputs))
    graph.operators = inside


def verify(path: Path, seed: int = 0) -> dict[str, object]:
    """Run a model in TFLite Micro and in LiteRT's reference kernels, in a child process.

    Returns:
        `runs`; `different`, the numbers that differ; `most`, by how much (in units of integers, or
        relative to the largest float); `distinct` outputs.

    Raises:
        VerificationError: the outputs differ by more than rounding.
    """
    request = {"path": str(path.resolve()), "seed": seed}
    reply = child.run("lowtide.bench.swiftnet_twin:run_here", request, timeout_s=300.0)
    if cast("float", reply["most"]) > (1 if reply["integers"] else _TOLERANCE):
        raise VerificationError(f"{path}: the runtimes' outputs differ by {reply['most']}")
    return reply


def run_here(request: dict[str, Any]) -> dict[str, object]:
    """The child's side of `verify`: both runtimes on the same inputs, random ones and limits."""
    micro = _module("tflite_micro.python.tflite_micro.runtime")
    litert = _module("ai_edge_litert.interpreter")
    data = Path(request["path"]).read_bytes()
    small: Any = micro.Interpreter.from_bytes(data, arena_size=16 << 20)
    resolver = litert.OpResolverType.BUILTIN_REF
    large: Any = litert.Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    large.allocate_tensors()
    feeds = feeds_for(read(data).model, random=2, seed=request["seed"])
    different, most, integers = 0, 0.0, True
    seen: set[bytes] = set()
    for arrays in feeds:
        for number, entry in enumerate(large.get_input_details()):
            small.set_input(arrays[number], number)
            large.set_tensor(entry["index"], arrays[number])
        small.invoke()
        large.invoke()
        for number, entry in enumerate(large.get_output_details()):
            result = small.get_output(number)
            one, two = result.astype(np.float64), large.get_tensor(entry["index"])
            error = np.abs(one - two.astype(np.float64))
            integers = integers and result.dtype.kind in "iu"
            scale = 1.0 if integers else max(1.0, float(np.abs(one).max()))
            different += int((error != 0).sum())
            most = max(most, float(error.max()) / scale)
            seen.add(one.tobytes())
    return {
        "runs": len(feeds),
        "different": different,
        "most": most,
        "integers": integers,
        "distinct": len(seen),
    }


def _quantization(schema: Any, scale: float, zero_point: int) -> Any:
    result = schema.QuantizationParametersT()
    result.scale, result.zeroPoint = [scale], [zero_point]
    return result


def _fill(schema: Any, model: Any, tensor: Any, values: Any) -> None:
    """Give a constant a buffer of its own: equal ones share theirs in the source."""
    tensor.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f'{name} cannot be imported ({error}): pip install "lowtide[edge]"'
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a twin, and run it."""
    parser = argparse.ArgumentParser(prog="swiftnet_twin", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--float", action="store_true", dest="floats")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int)
    options = parser.parse_args(arguments)
    data = options.model.read_bytes()
    options.output.write_bytes(
        twin(data, options.seed, floats=options.floats, first=options.first, last=options.last)
    )
    print(f"{options.output}: {verify(options.output)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
