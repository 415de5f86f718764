"""A small format for tests: images [1, rows, columns, channels] of int64, executed with numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import ModelError
from lowtide.ir import Graph, Role
from lowtide.ir.semantics import (
    Add,
    Concat,
    Convolution,
    Meaning,
    Pointwise,
    Pooling,
    Slice,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Op, Tensor

__all__ = ["Rowwise", "execute", "same"]

Attributes = dict[str, int | tuple[int, ...]]


def same(size: int, stride: int, length: int) -> Window:
    """The padding `SAME`."""
    results = -(-length // stride)
    total = max(0, (results - 1) * stride + size - length)
    return Window(size, stride, 1, total // 2, total - total // 2)


def _windows(op: Op) -> dict[int, Window]:
    found: dict[int, Window] = {}
    for axis in (1, 2):
        values = op.attributes[f"window{axis}"]
        assert isinstance(values, tuple)
        found[axis] = Window(*(int(v) for v in values))
    return found


def window_attributes(windows: Mapping[int, Window]) -> dict[str, tuple[int, ...]]:
    return {
        f"window{a}": (w.size, w.stride, w.dilation, w.before, w.after) for a, w in windows.items()
    }


class Rowwise:
    """The dialect; without free padding as TFLite has it."""

    accumulates = False
    most_parts = 3

    def __init__(self, *, any_padding: bool) -> None:
        self._any_padding = any_padding

    @property
    def any_padding(self) -> bool:
        return self._any_padding

    def meaning(self, op: Op) -> Meaning | None:
        data = op.inputs[0]
        assert data is not None
        if op.kind == "conv":
            weights = op.inputs[1]
            assert weights is not None
            return Convolution(
                op, data, weights, None, None, 3, _windows(op), 1, 2, 3, activation=True
            )
        if op.kind in ("depthwise", "average"):
            return Pooling(op, data, 3, _windows(op))
        if op.kind == "square":
            return Pointwise(op, data)
        if op.kind == "add":
            return Add(op, tuple(t for t in op.inputs if t is not None))
        if op.kind == "join":
            axis = op.attributes["axis"]
            assert isinstance(axis, int)
            return Concat(op, tuple(t for t in op.inputs if t is not None), axis)
        if op.kind == "slice":
            start, stop = op.attributes["start"], op.attributes["stop"]
            assert isinstance(start, int)
            assert isinstance(stop, int)
            return Slice(op, data, 1, start, stop)
        return None

    def _op(
        self,
        graph: Graph,
        name: str,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        before: Op | None,
        attributes: Mapping[str, int | tuple[int, ...]],
        flops: int = 0,
    ) -> Tensor:
        result = graph.add_tensor(name, "int64", shape)
        graph.add_op(
            name, "test", kind, inputs, [result], attributes=attributes, flops=flops, before=before
        )
        return result

    def join(
        self,
        graph: Graph,
        name: str,
        parts: Sequence[Tensor],
        axis: int,
        like: Tensor,
        *,
        before: Op | None,
    ) -> Tensor:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._op(graph, name, "join", parts, shape, before, {"axis": axis})

    def slice(
        self,
        graph: Graph,
        name: str,
        data: Tensor,
        axis: int,
        start: int,
        stop: int,
        *,
        before: Op | None,
    ) -> Tensor:
        assert axis == 1
        assert 0 <= start < stop <= data.shape[1]
        shape = (1, stop - start, *data.shape[2:])
        return self._op(graph, name, "slice", [data], shape, before, {"start": start, "stop": stop})

    def add(
        self, graph: Graph, name: str, terms: Sequence[Tensor], like: Tensor, *, before: Op | None
    ) -> Tensor:
        return self._op(graph, name, "add", terms, like.shape, before, {})

    def activation(
        self, graph: Graph, name: str, like: Op, data: Tensor, *, before: Op | None
    ) -> Tensor:
        return self._op(graph, name, "square", [data], data.shape, before, {})

    def again(
        self,
        graph: Graph,
        name: str,
        like: Op,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        before: Op | None,
        windows: Mapping[int, Window] | None = None,
        groups: int | None = None,
        activation: bool = True,
        addend: Tensor | None = None,
    ) -> Tensor:
        attributes = dict(like.attributes)
        data = inputs[0]
        assert data is not None
        if windows is not None:
            attributes |= window_attributes(windows)
            if not self._any_padding:
                allowed = [
                    {a: same(w.size, w.stride, data.shape[a]) for a, w in windows.items()},
                    {a: Window(w.size, w.stride, w.dilation) for a, w in windows.items()},
                ]
                if dict(windows) not in allowed:
                    raise ModelError(f"op `{name}` has windows that are neither SAME nor VALID")
            assert shape[1] == windows[1].results(data.shape[1])
        old = like.outputs[0].shape[1]
        flops = like.flops * shape[1] // max(old, 1)
        plain = {k: v for k, v in attributes.items() if isinstance(v, int | tuple)}
        return self._op(graph, name, like.kind, inputs, shape, before, plain, flops)  # type: ignore[arg-type]


def execute(
    graph: Graph, feeds: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The graph's outputs."""
    values: dict[Tensor, np.ndarray] = {}
    for tensor in graph.tensors:
        if tensor.role is Role.CONSTANT:
            values[tensor] = weights[tensor.name]
    for tensor in graph.inputs:
        values[tensor] = feeds[tensor.name]
    for op in graph.ops:
        operands = [values[t] for t in op.inputs if t is not None]
        result = _run(op, operands)
        assert result.shape == op.outputs[0].shape, op.name
        values[op.outputs[0]] = result
    return [values[t] for t in graph.outputs]


def _run(op: Op, operands: list[np.ndarray]) -> np.ndarray:
    data = operands[0]
    if op.kind == "square":
        return data * data % 10007
    if op.kind == "add":
        return sum(operands[1:], data) % 10007
    if op.kind == "join":
        return np.concatenate(operands, int(str(op.attributes["axis"])))
    if op.kind == "slice":
        return data[:, int(str(op.attributes["start"])) : int(str(op.attributes["stop"]))]
    rows, columns = _windows(op)[1], _windows(op)[2]
    pads = ((0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0))
    padded = np.pad(data, pads)
    real = np.pad(np.ones_like(data), pads)
    taps: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    high, wide = rows.results(data.shape[1]), columns.results(data.shape[2])
    for i in range(rows.size):
        for j in range(columns.size):
            at = np.s_[
                :,
                i * rows.dilation : i * rows.dilation + (high - 1) * rows.stride + 1 : rows.stride,
                j * columns.dilation : j * columns.dilation
                + (wide - 1) * columns.stride
                + 1 : columns.stride,
            ]
            taps.append(padded[at])
            counts.append(real[at])
    if op.kind == "average":
        return sum(taps) // sum(counts)  # type: ignore[operator, no-any-return]
    if op.kind == "depthwise":
        return sum(tap * (n * n + 1) for n, tap in enumerate(taps)) % 10007  # type: ignore[no-any-return]
    kernel = operands[1]
    total = sum(
        np.einsum("bhwc,co->bhwo", tap, kernel[n // columns.size, n % columns.size])
        for n, tap in enumerate(taps)
    )
    return total % 10007  # type: ignore[no-any-return]
