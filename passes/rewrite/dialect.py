"""What a format has to say and do for its graphs to be rewritten.

A frontend implements it, since it knows its operators; a backend then writes what was built. New
ops and tensors are built on the graph alone. The backend tells them from the source's own by their
names, takes an op's operator, options and version from `kind`, `attributes` and the handle of the
op that it resembles (`source`), a tensor's scale and zero point from `like`, and the data of a
constant from `recipe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.semantics import Meaning, Window

__all__ = ["Dialect"]


class Dialect(Protocol):
    """Reads what ops of a format mean, and builds ops of it.

    Every builder appends one op in front of `before`, with memory (scratch, in-place candidates,
    views) as the runtime's kernel needs it, and returns its result, which is named like the op.
    """

    @property
    def any_padding(self) -> bool:
        """Whether windows may pad each side of each axis by itself.

        If not, the paddings that can be had are those of TFLite: on all spatial axes none, or on
        all of them what makes `results(length)` the length over the stride, rounded up, the odd
        zero behind.
        """
        ...

    @property
    def most_parts(self) -> int | None:
        """How many tensors the runtime concatenates at once; None for any number."""
        ...

    @property
    def accumulates(self) -> bool:
        """Whether a convolution can add to an operand (`addend`), in its place."""
        ...

    def meaning(self, op: Op) -> Meaning | None:
        """What the op computes; None where no rewrite is to know."""
        ...

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
        """The parts along an axis, in the type and scale of `like`."""
        ...

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
        """`data[start:stop]` along an axis."""
        ...

    def add(
        self, graph: Graph, name: str, terms: Sequence[Tensor], like: Tensor, *, before: Op | None
    ) -> Tensor:
        """The sum of two operands, in the type and scale of `like`, without activation."""
        ...

    def activation(
        self, graph: Graph, name: str, like: Op, data: Tensor, *, before: Op | None
    ) -> Tensor:
        """The activation of `like` by itself, of data of the type of its result."""
        ...

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
        """An op like `like` on other operands, with a result of `shape` in its type and scale.

        Args:
            graph: where to.
            name: of op and result.
            like: an op with one result.
            inputs: the operands, as many as `like` has (`addend` apart).
            shape: of the result.
            before: the op in front of which it goes; None for the end.
            windows: the paddings, where they differ, by spatial axis.
            groups: of a convolution, where they differ.
            activation: False to leave out the op's fused activation.
            addend: what is added to the result of a convolution before its activation, in its
                place; only where the dialect `accumulates`.

        Raises:
            ModelError: the windows cannot be expressed.
        """
        ...
