"""Operations of the graph IR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir.tensor import Tensor

__all__ = ["Attribute", "InPlace", "Op", "Traits"]

Attribute = int | float | str | bool | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a planner may and may not do with an op.

    Attributes:
        pinned: stateful or with side effects: it runs once, and pinned ops keep their order.
        random: two runs give different results: it is never recomputed.
        once: it is never recomputed for another reason, such as a subgraph that reads its result.
        view: its outputs share storage with an input (the outputs' `alias` says which).
        commutes: its inputs may be permuted.
    """

    pinned: bool = False
    random: bool = False
    once: bool = False
    view: bool = False
    commutes: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether the op may be computed again."""
        return not (self.pinned or self.random or self.once)


class InPlace(NamedTuple):
    """The runtime may write output `output` into the buffer of input `input`.

    It does so exactly when that buffer has the same size and no later reader, and is neither the
    caller's nor a constant's.
    """

    output: int
    input: int


class Op:
    """One operation. Equality is identity; change it only through `Graph`'s methods.

    Attributes:
        name: unique in its graph.
        dialect: the format that defines the op: `onnx`, `tflite`, `tensorflow`, `tvm`.
        kind: the operator's name in that dialect; `qualified` gives `onnx.Conv`.
        inputs: the operands; None where an optional one is absent.
        outputs: the results, in order.
        attributes: plain attributes, for printing and for rewrites. Weights are never attributes.
        traits: see `Traits`.
        in_place: candidates in the runtime's order of preference.
        flops: floating point operations, 0 when unknown.
        cost: seconds or model units, None when unknown.
        workspace_bytes: scratch that lives while the op runs.
        workspace_known: False where the scratch is not modelled: then it counts as 0, and no plan
            of a graph with such an op is called optimal.
        source: the backend's handle on the original node (opaque here).
    """

    __slots__ = (
        "_inputs",
        "_outputs",
        "attributes",
        "cost",
        "dialect",
        "flops",
        "in_place",
        "kind",
        "name",
        "source",
        "traits",
        "workspace_bytes",
        "workspace_known",
    )

    def __init__(
        self,
        name: str,
        dialect: str,
        kind: str,
        inputs: tuple[Tensor | None, ...],
        outputs: tuple[Tensor, ...],
        *,
        attributes: Mapping[str, Attribute] | None = None,
        traits: Traits = Traits(),
        in_place: tuple[InPlace, ...] = (),
        flops: int = 0,
        cost: float | None = None,
        workspace_bytes: int = 0,
        workspace_known: bool = True,
        source: object = None,
    ) -> None:
        self.name = name
        self.dialect = dialect
        self.kind = kind
        self._inputs = inputs
        self._outputs = outputs
        self.attributes: dict[str, Attribute] = dict(attributes or {})
        self.traits = traits
        self.in_place = in_place
        self.flops = flops
        self.cost = cost
        self.workspace_bytes = workspace_bytes
        self.workspace_known = workspace_known
        self.source = source

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The operands; None where an optional one is absent."""
        return self._inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The results, in order."""
        return self._outputs

    @property
    def operands(self) -> tuple[Tensor, ...]:
        """The distinct tensors that are read, in order of first use."""
        return tuple(dict.fromkeys(t for t in self._inputs if t is not None))

    @property
    def qualified(self) -> str:
        """Dialect and kind: `onnx.Conv`."""
        return f"{self.dialect}.{self.kind}"

    def __repr__(self) -> str:
        return f"<Op {self.name} {self.qualified}>"
