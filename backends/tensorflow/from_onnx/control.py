"""Control flow: If, Loop and Scan as tf.cond and tf.while_loop."""

# TensorFlow has no type stubs:
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.dtypes import cast
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.registry import operator
from lowtide.backends.tensorflow.from_onnx.value import Value

if TYPE_CHECKING:
    import onnx_ir

__all__: list[str] = []


@operator("If", attributes=("else_branch", "then_branch"), folds=False)
def _if(call: Call) -> Sequence[Value]:
    """Only the branch that is taken, where the condition is known."""
    known = call.static(0)
    if known is not None:
        branch = "then_branch" if bool(known.reshape(-1)[0]) else "else_branch"
        return call.run_graph(call.graph(branch), [])

    def taken(name: str) -> list[Tensor]:
        return [value.tensor for value in call.run_graph(call.graph(name), [])]

    condition = tf.reshape(call.tensor(0), [])
    results = tf.cond(condition, lambda: taken("then_branch"), lambda: taken("else_branch"))
    results = results if isinstance(results, list | tuple) else [results]
    return [Value(result) for result in results]


@operator("Loop", attributes=("body",), folds=False)
def _loop(call: Call) -> Sequence[Value]:
    """Trip count, condition, carried values; the body gives condition, carried, and scanned."""
    body = call.graph("body")
    carried = [call.tensor(i) for i in range(2, len(call.inputs))]
    count = len(carried)
    limit = tf.reshape(cast(call.tensor(0), tf.int64), []) if call.has(0) else None
    trips = call.static(0) if call.has(0) else None
    first = tf.reshape(call.tensor(1), []) if call.has(1) else tf.constant(True)
    known_first = call.static(1) if call.has(1) else np.array(True)

    def once(i: Tensor, condition: Tensor, values: Sequence[Tensor]) -> list[Value]:
        return call.run_graph(body, [Value(i), Value(condition), *map(Value, values)])

    trial = _trial(lambda *given: once(given[0], given[1], given[2:]), (_COUNT, _FLAG, *carried))
    invariants = _invariants(carried, trial[1 : 1 + count])
    steady = all(shape == tensor.shape for shape, tensor in zip(invariants, carried, strict=True))
    size = int(trips.reshape(-1)[0]) if trips is not None and trips.size else 0
    size = size if known_first is not None and size < _LONG else 0
    arrays: list[object] = []
    for tensor in trial[1 + count :]:
        # No turn at all gives an empty result, whose other sizes must be known.
        shape = tensor.shape if steady else None
        known = shape is not None and shape.is_fully_defined()
        arrays.append(
            tf.TensorArray(
                tensor.dtype,
                size if known else 0,
                dynamic_size=True,
                infer_shape=False,
                element_shape=shape,
            )
        )

    def proceed(i: Tensor, condition: Tensor, *_: object) -> Tensor:
        if limit is None:
            return condition
        result: Tensor = tf.logical_and(condition, i < limit)
        return result

    def step(i: Tensor, condition: Tensor, *rest: object) -> tuple[object, ...]:
        values, collected = rest[:count], rest[count:]
        results = once(i, condition, values)  # type: ignore[arg-type]
        after = tf.reshape(results[0].tensor, [])
        new = [value.tensor for value in results[1 : 1 + count]]
        written = [
            array.write(tf.cast(i, tf.int32), value.tensor)  # type: ignore[attr-defined]
            for array, value in zip(collected, results[1 + count :], strict=True)
        ]
        return (i + 1, after, *new, *written)

    start = (tf.constant(0, tf.int64), first, *carried, *arrays)
    shapes = (
        tf.TensorShape([]),
        tf.TensorShape([]),
        *invariants,
        *(tf.TensorShape(None) for _ in arrays),
    )
    results = tf.while_loop(proceed, step, start, shape_invariants=shapes)
    made = results[0]
    stacked: list[Tensor] = []
    for array in results[2 + count :]:
        taken = array.stack()
        stacked.append(taken[: tf.cast(made, tf.int32)] if taken.shape.rank else taken)
    return [Value(t) for t in [*results[2 : 2 + count], *stacked]]


# Trip counts from here on only bound a loop that its condition ends.
_LONG = 1 << 16
# What a Loop's body gets besides what it carries.
_COUNT = ((), "int64")
_FLAG = ((), "bool")


def _trial(function: Callable[..., Sequence[Value]], given: Sequence[object]) -> list[Tensor]:
    """What a body results in, from a graph that is thrown away: types, and sizes of one turn."""
    specs = [
        tf.TensorSpec(*item) if isinstance(item, tuple) else tf.TensorSpec(item.shape, item.dtype)  # type: ignore[attr-defined]
        for item in given
    ]

    def body(*tensors: Tensor) -> list[Tensor]:
        return [value.tensor for value in function(*tensors)]

    trial = tf.function(body, input_signature=specs, autograph=False).get_concrete_function()
    return list(trial.outputs)


def _invariants(carried: Sequence[Tensor], after: Sequence[Tensor]) -> list[object]:
    """Shapes that hold in every turn: sizes that a turn leaves as they are, others open."""
    return [
        before.shape.most_specific_compatible_shape(new.shape)
        for before, new in zip(carried, after, strict=True)
    ]


@operator(
    "Scan",
    attributes=(
        "body",
        "num_scan_inputs",
        "scan_input_axes",
        "scan_input_directions",
        "scan_output_axes",
        "scan_output_directions",
    ),
    folds=False,
    since=9,
)
def _scan(call: Call) -> Sequence[Value]:
    body = call.graph("body")
    scans = call.integer("num_scan_inputs", 1)
    count = len(call.inputs) - scans
    states = [call.tensor(i) for i in range(count)]
    axes = call.ints("scan_input_axes") or (0,) * scans
    directions = call.ints("scan_input_directions") or (0,) * scans
    inputs: list[Tensor] = []
    for index in range(scans):
        x = call.tensor(count + index)
        axis = call.axis(axes[index], x.shape.rank)
        if axis:
            x = tf.transpose(x, [axis, *(a for a in range(x.shape.rank) if a != axis)])
        inputs.append(tf.reverse(x, [0]) if directions[index] else x)
    results = _stepped(call, body, states, inputs)
    made = len(results) - count
    out_axes = call.ints("scan_output_axes") or (0,) * made
    out_directions = call.ints("scan_output_directions") or (0,) * made
    for index in range(made):
        y = results[count + index]
        y = tf.reverse(y, [0]) if out_directions[index] else y
        axis = call.axis(out_axes[index], y.shape.rank)
        if axis:
            y = tf.transpose(y, [*range(1, axis + 1), 0, *range(axis + 1, y.shape.rank)])
        results[count + index] = y
    return [Value(result) for result in results]


def _stepped(
    call: Call, body: onnx_ir.Graph, states: Sequence[Tensor], inputs: Sequence[Tensor]
) -> list[Tensor]:
    count = len(states)
    length = inputs[0].shape[0]
    steps = tf.shape(inputs[0])[0] if length is None else length
    slices = [(x.shape[1:], x.dtype) for x in inputs]
    trial = _trial(lambda *given: call.run_graph(body, list(map(Value, given))), (*states, *slices))
    arrays = [tf.TensorArray(t.dtype, steps, element_shape=t.shape) for t in trial[count:]]

    def step(i: Tensor, *rest: object) -> tuple[object, ...]:
        parts = [Value(tf.gather(x, i)) for x in inputs]
        given = [Value(state) for state in rest[:count]]  # type: ignore[arg-type]
        results = call.run_graph(body, [*given, *parts])
        written = [
            array.write(i, value.tensor)  # type: ignore[attr-defined]
            for array, value in zip(rest[count:], results[count:], strict=True)
        ]
        return (i + 1, *(value.tensor for value in results[:count]), *written)

    results = tf.while_loop(
        lambda i, *_: i < steps,
        step,
        (tf.constant(0), *states, *arrays),
        maximum_iterations=steps,
    )
    return [*results[1 : 1 + count], *(array.stack() for array in results[1 + count :])]
