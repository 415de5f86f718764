"""What ONNX Runtime's CPU kernels do with memory: views, in-place results, scratch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import InPlace
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


_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


def kernel_memory(query: KernelQuery) -> KernelMemory:
    """The memory behaviour of the CPU kernel that runs this node."""
    if query.domain == "" and query.kind in _VIEWS:
        return KernelMemory(aliases=((0, 0),))
    return KernelMemory()
