"""What ONNX Runtime's CPU kernels do with memory: views, in-place results, scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lowtide.frontends.onnx.ort_kernels import KERNELS, Kernel
from lowtide.ir import InPlace
from lowtide.ir.dtype import BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir.op import Attribute

__all__ = ["KernelMemory", "KernelQuery", "TensorType", "kernel_memory"]


class TensorType(NamedTuple):
    """Element type (as in `ir.dtype`) and shape of an operand or result."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KernelQuery:
    """One node as its kernel sees it.

    Attributes:
        domain: the operator's domain, empty for ONNX's own.
        kind: the operator.
        version: the opset version of the domain in the model.
        attributes: plain attributes.
        inputs: operand types, None where absent.
        outputs: result types, None where not asked for.
        constant: per input, whether it is an initializer (kernels pre-pack those at load time).
        threads: intra-op threads of the session.
    """

    domain: str
    kind: str
    version: int
    attributes: Mapping[str, Attribute]
    inputs: tuple[TensorType | None, ...]
    outputs: tuple[TensorType | None, ...]
    constant: tuple[bool, ...] = ()
    threads: int = 1


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """What the kernel does.

    Attributes:
        aliases: (output, input) pairs that always share storage (views).
        in_place: candidates for writing an output over a dying input, in the kernel's order.
        workspace_bytes: scratch allocated while it runs.
        workspace_known: False where the scratch is not modelled (then it counts as 0).
    """

    aliases: tuple[tuple[int, int], ...] = ()
    in_place: tuple[InPlace, ...] = field(default=())
    workspace_bytes: int = 0
    workspace_known: bool = True


_UNKNOWN = Kernel(workspace=None)


def kernel_memory(query: KernelQuery) -> KernelMemory:
    """The memory behaviour of the CPU kernel that runs this node.

    In-place candidates are those that pass the planner's static test (`FindReusableInput` and
    `SameSize` in ORT's `allocation_planner.cc`): same element size and same shape, dimension by
    dimension, and no strings. What it learns from the rest of the graph is left to the caller: the
    operand's buffer must have no other use (a second use by the same node counts), and be no
    input, constant or output of the graph; nor may the result be an output.
    """
    kernel = KERNELS.get((query.domain, query.kind), _UNKNOWN)
    in_place = tuple(
        InPlace(output, operand)
        for output, operand in kernel.in_place
        if operand < len(query.inputs)
        and output < len(query.outputs)
        and not (operand < len(query.constant) and query.constant[operand])
        and _same_size(query.inputs[operand], query.outputs[output])
    )
    workspace = None if kernel.workspace is None else kernel.workspace(query)
    return KernelMemory(
        aliases=tuple(pair for pair in kernel.aliases if pair[1] < len(query.inputs)),
        in_place=in_place,
        workspace_bytes=workspace or 0,
        workspace_known=workspace is not None,
    )


def _same_size(operand: TensorType | None, result: TensorType | None) -> bool:
    if operand is None or result is None or "opaque" in (operand.dtype, result.dtype):
        return False
    return operand.shape == result.shape and BITS[operand.dtype] == BITS[result.dtype]
