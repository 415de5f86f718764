"""Open dimensions: which there are, and the values that the user binds them to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import InputError, ModelError
from lowtide.frontends.onnx.message import one_line
from lowtide.frontends.onnx.structure import subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx

__all__ = ["OpenDimension", "bind", "open_dimensions", "open_minus_ones", "require_bound"]

_LARGEST = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class OpenDimension:
    """A dimension of a graph input without a value.

    Attributes:
        tensor: the input.
        axis: which of its dimensions.
        name: the name to bind it by: the file's, or `tensor[axis]` where the file gives none.
    """

    tensor: str
    axis: int
    name: str


def bind(model: onnx.ModelProto, dims: Mapping[str, int]) -> None:
    """Give open dimensions their values, in place: by name, `tensor[axis]`, or `*` for the rest.

    Raises:
        InputError: a value is out of range, or a name is not in the model.
    """
    for name, value in dims.items():
        if not 0 <= value <= _LARGEST:
            raise InputError(f"--dim {name}={value}: a dimension is between 0 and {_LARGEST}")
    known = {dim.name for dim in open_dimensions(model)}
    known.update(d.dim_param for d in _declared(model.graph) if d.dim_param)
    for name in dims:
        if name != "*" and name not in known:
            listed = ", ".join(f"`{n}`" for n in sorted(known)) or "none"
            raise InputError(f"--dim {name}: the model has no such dimension; open are {listed}")
    inputs = {value.name: value for value in model.graph.input}
    for dim in open_dimensions(model):
        if dim.name in dims or "*" in dims:
            value = dims[dim.name if dim.name in dims else "*"]
            inputs[dim.tensor].type.tensor_type.shape.dim[dim.axis].dim_value = value
    for dimension in _declared(model.graph):
        if dimension.dim_param in dims:
            dimension.dim_value = dims[dimension.dim_param]


def open_minus_ones(model: onnx.ModelProto) -> None:
    """Take -1 for an open dimension, as some exporters write it and ONNX Runtime reads it."""
    for values in (model.graph.input, model.graph.value_info, model.graph.output):
        for value in values:
            for dimension in value.type.tensor_type.shape.dim:
                if dimension.dim_value == -1:
                    dimension.ClearField("dim_value")


def open_dimensions(model: onnx.ModelProto) -> tuple[OpenDimension, ...]:
    """The open dimensions of the inputs that a caller must hand over, in order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return tuple(
        OpenDimension(value.name, axis, dim.dim_param or f"{value.name}[{axis}]")
        for value in model.graph.input
        if value.name not in constants
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if not dim.HasField("dim_value")
    )


def require_bound(dims: Sequence[OpenDimension]) -> None:
    """Raise `ModelError` naming every open dimension and how to bind it."""
    if not dims:
        return
    where: dict[str, list[str]] = {}
    for dim in dims:
        where.setdefault(dim.name, []).append(f"input `{dim.tensor}`, axis {dim.axis}")
    listed = "; ".join(f"`{name}` ({', '.join(at[:3])})" for name, at in list(where.items())[:8])
    more = f" and {len(where) - 8} more" if len(where) > 8 else ""
    options = " ".join(f"--dim '{n}=VALUE'" if "[" in n else f"--dim {n}=VALUE" for n in where)
    raise ModelError(
        f"the sizes of {len(where)} dimensions are open: {one_line(listed + more)}: give them "
        f"values with {one_line(options[:200])}, or --dim '*=1' for all"
    )


def _declared(graph: onnx.GraphProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    """Every declared dimension of the graph and of those within it."""
    for values in (graph.input, graph.value_info, graph.output):
        for value in values:
            yield from value.type.tensor_type.shape.dim
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from _declared(inner)
