"""One node that is being emitted: its inputs and attributes, checked as they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeAlias, cast

import numpy as np

from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.value import Array, Place, Value
from lowtide.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["Call", "ConstantNeededError", "RunGraph"]

RunGraph: TypeAlias = "Callable[[onnx_ir.Graph, Sequence[Value]], list[Value]]"
"""Emit a subgraph in the graph that is being built, with values for its inputs."""


class ConstantNeededError(ModelError):
    """An operand must be known when the model is converted.

    Attributes:
        operand: its index among the node's inputs.
    """

    def __init__(self, message: str, operand: int) -> None:
        super().__init__(message)
        self.operand = operand


class Call:
    """A node, its operands and how to emit what it contains.

    Attributes:
        inputs: the operands; None for one that is left out.
        outputs: how many results are asked for, up to the last one that has a name.
        fake_quantized: whether QuantizeLinear and DequantizeLinear become fake quantization.
        lite: whether only ops are wanted that TFLite has kernels for.
    """

    def __init__(
        self,
        node: onnx_ir.Node,
        inputs: Sequence[Value | None],
        version: int,
        attributes: Mapping[str, onnx_ir.Attr],
        run_graph: RunGraph,
        place: Place,
        *,
        fake_quantized: bool = False,
        lite: bool = False,
    ) -> None:
        self.node = node
        self.inputs = list(inputs)
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()
        self.version = version
        self.outputs = max((i + 1 for i, out in enumerate(node.outputs) if out.name), default=0)
        self.run_graph = run_graph
        self.place = place
        self.fake_quantized = fake_quantized
        self.lite = lite
        self._attributes = attributes

    @property
    def label(self) -> str:
        """The node as messages name it."""
        domain = f"{self.node.domain}." if self.node.domain not in ("", "ai.onnx") else ""
        name = self.node.name or next((o.name for o in self.node.outputs if o.name), "")
        return f"{domain}{self.node.op_type} `{name}` (opset {self.version})"

    def fail(self, message: str) -> NoReturn:
        """Refuse the node.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.label}: {message}")

    def has(self, index: int) -> bool:
        """Whether an operand is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """An operand.

        Raises:
            ModelError: it is left out.
        """
        if not self.has(index):
            self.fail(f"operand {index} is missing")
        return cast("Value", self.inputs[index])

    def tensor(self, index: int) -> Tensor:
        """An operand in ONNX's order."""
        return self.value(index).tensor

    def static(self, index: int) -> Array | None:
        """An operand's value where it is known now."""
        value = self.value(index)
        if value.array is not None:
            return value.array
        return cast("Array | None", tf.get_static_value(value.tensor))

    def constant(self, index: int, what: str) -> Array:
        """An operand's value.

        Raises:
            ConstantNeededError: it is computed by the model.
        """
        array = self.static(index)
        if array is None:
            raise ConstantNeededError(
                f"{self.label}: its {what} must be constant, and is computed by the model: "
                f"bind the dimensions it depends on (--dim NAME=VALUE)",
                index,
            )
        return array

    def integers(self, index: int, what: str) -> tuple[int, ...]:
        """A constant operand of integers."""
        return tuple(int(i) for i in self.constant(index, what).astype(np.int64).reshape(-1))

    def rank(self, index: int) -> int:
        """An operand's rank.

        Raises:
            ConstantNeededError: it is unknown.
        """
        rank = self.value(index).rank
        if rank is None:
            raise ConstantNeededError(
                f"{self.label}: the rank of operand {index} is unknown, as a shape is computed by "
                f"the model: bind its dimensions with --dim NAME=VALUE",
                index,
            )
        return rank

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
            ModelError: there is no such axis.
        """
        if not -rank <= axis < rank:
            self.fail(f"axis {axis} of a tensor of rank {rank}")
        return axis % rank

    def placed(self, array: Array) -> Tensor:
        """A constant in the graph."""
        return self.place(array)

    def made(self, array: Array) -> Value:
        """A constant result."""
        return Value(None, array=array, place=self.place)

    def given(self, name: str) -> bool:
        """Whether an attribute is given."""
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return self._attributes[name].as_int() if name in self._attributes else default

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return self._attributes[name].as_float() if name in self._attributes else default

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return self._attributes[name].as_string() if name in self._attributes else default

    def ints(self, name: str) -> tuple[int, ...] | None:
        """A list of integers; None where it is not given."""
        return tuple(self._attributes[name].as_ints()) if name in self._attributes else None

    def floats(self, name: str) -> tuple[float, ...] | None:
        """A list of floats; None where it is not given."""
        return tuple(self._attributes[name].as_floats()) if name in self._attributes else None

    def strings(self, name: str) -> tuple[str, ...] | None:
        """A list of strings; None where it is not given."""
        return tuple(self._attributes[name].as_strings()) if name in self._attributes else None

    def array(self, name: str) -> Array:
        """A tensor attribute."""
        return self._attributes[name].as_tensor().numpy()

    def graph(self, name: str) -> onnx_ir.Graph:
        """A subgraph."""
        return self._attributes[name].as_graph()
