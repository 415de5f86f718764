"""Which kernels may write their result over an operand: a whitelist per kernel library.

TFLM has no notion of it, but it runs whatever offsets the offline plan gives. A kernel may share
when it reads each element of the operand before it writes the result's element of the same index,
and never again after. That is so for the elementwise kernels of the reference library (one loop
over flat indices), for SOFTMAX (row by row, the row read to its end before it is written) and for
those that copy bytes (with memmove semantics or not at all when both are at one place). Every entry
is executed by a test, shared and apart, over the element types that it names.

Conditions on the tensors, beside the kernel: one element type and shape of result and operand (of
those that only copy: the same bytes), the operand neither a constant nor a variable nor a result of
the graph, and this its last use.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteOperator, TfliteSubgraph

__all__ = ["Kernels", "Shareable", "shareable", "whitelist"]


class Kernels(StrEnum):
    """The kernel library that a device runs."""

    REFERENCE = "reference"
    CMSIS_NN = "cmsis-nn"
    ESP_NN = "esp-nn"


class Shareable(NamedTuple):
    """A kernel that may write its only result over an operand.

    Attributes:
        operands: the positions of such operands.
        dtypes: the element types of operand and result for which this was executed.
        copies: the kernel only copies the bytes, so that the shapes may differ.
    """

    operands: tuple[int, ...]
    dtypes: tuple[str, ...]
    copies: bool = False


_F, _Q, _FQ = ("float32",), ("int8", "int16"), ("float32", "int8", "int16")

_REFERENCE: dict[str, Shareable] = {
    # two operands, either of which may be broadcast when the other is shared
    "ADD": Shareable((0, 1), _FQ),
    "SUB": Shareable((0, 1), _FQ),
    "MUL": Shareable((0, 1), _FQ),
    "MAXIMUM": Shareable((0, 1), ("float32", "int8")),
    "MINIMUM": Shareable((0, 1), ("float32", "int8")),
    "SQUARED_DIFFERENCE": Shareable((0, 1), _FQ),
    # one operand
    "RELU": Shareable((0,), ("float32", "int8")),
    "RELU6": Shareable((0,), ("float32", "int8")),
    "LOGISTIC": Shareable((0,), _FQ),
    "TANH": Shareable((0,), _FQ),
    "HARD_SWISH": Shareable((0,), ("float32", "int8")),
    "LEAKY_RELU": Shareable((0,), _FQ),
    "PRELU": Shareable((0,), ("float32", "int8")),
    "ELU": Shareable((0,), ("float32", "int8")),
    "ABS": Shareable((0,), _F),
    "NEG": Shareable((0,), _F),
    "EXP": Shareable((0,), _F),
    "SQUARE": Shareable((0,), _F),
    "SQRT": Shareable((0,), _F),
    "RSQRT": Shareable((0,), _F),
    "FLOOR": Shareable((0,), _F),
    "CEIL": Shareable((0,), _F),
    "ROUND": Shareable((0,), _F),
    "QUANTIZE": Shareable((0,), _Q),
    "SOFTMAX": Shareable((0,), ("float32", "int8")),
    # copies
    "RESHAPE": Shareable((0,), _FQ, copies=True),
    "SQUEEZE": Shareable((0,), _FQ, copies=True),
    "EXPAND_DIMS": Shareable((0,), ("float32", "int8"), copies=True),
}


def whitelist(kernels: Kernels) -> dict[str, Shareable]:
    """The kernels that may share, by operator name; empty for libraries that were not executed."""
    return dict(_REFERENCE) if kernels is Kernels.REFERENCE else {}


def shareable(
    subgraph: TfliteSubgraph,
    operator: TfliteOperator,
    kernels: Kernels,
    *,
    overwrite_inputs: bool = False,
) -> tuple[int, ...]:
    """The positions of the operands that the operator may overwrite, if they die with it.

    Args:
        subgraph: whose operator it is.
        operator: the operator.
        kernels: the library that runs it.
        overwrite_inputs: whether the subgraph's inputs may be overwritten.
    """
    entry = whitelist(kernels).get(operator.kind)
    if entry is None or len(operator.outputs) != 1 or operator.outputs[0] < 0:
        return ()
    result = subgraph.tensors[operator.outputs[0]]
    if result.constant or result.variable or result.nbytes == 0 or result.index in subgraph.inputs:
        return ()
    found: list[int] = []
    for position in entry.operands:
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            continue
        operand = subgraph.tensors[operator.inputs[position]]
        if operand.constant or operand.variable or operand.index in subgraph.outputs:
            continue
        if operand.index in subgraph.inputs and not overwrite_inputs:
            continue
        if operand.type != result.type or operand.dtype not in entry.dtypes:
            continue
        same = operand.nbytes == result.nbytes if entry.copies else operand.shape == result.shape
        # A tensor that is read as two operands dies with both at once.
        if same and operand.index != result.index:
            found.append(position)
    return tuple(found)
