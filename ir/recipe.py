"""How a constant that a rewrite introduced is made from the model's own constants.

Passes see no data: they say what is to be made, and the backend of the format makes it, once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir.tensor import Tensor

__all__ = ["Cast", "Folded", "Joined", "Part", "Recipe", "Values"]


@dataclass(frozen=True, slots=True)
class Part:
    """`base[start:stop]` along `axis`."""

    base: Tensor
    axis: int
    start: int
    stop: int

    def mapped(self, tensors: Mapping[Tensor, Tensor]) -> Part:
        """The same of a copy of the graph."""
        return replace(self, base=tensors[self.base])


@dataclass(frozen=True, slots=True)
class Joined:
    """The parts one after the other along `axis`."""

    parts: tuple[Tensor, ...]
    axis: int

    def mapped(self, tensors: Mapping[Tensor, Tensor]) -> Joined:
        """The same of a copy of the graph."""
        return replace(self, parts=tuple(tensors[part] for part in self.parts))


@dataclass(frozen=True, slots=True)
class Cast:
    """The values of `base` in the tensor's own element type, which holds them exactly."""

    base: Tensor

    def mapped(self, tensors: Mapping[Tensor, Tensor]) -> Cast:
        """The same of a copy of the graph."""
        return replace(self, base=tensors[self.base])


@dataclass(frozen=True, slots=True)
class Values:
    """These values, in row-major order; one for every element, or one for all of them."""

    items: tuple[int, ...] | tuple[float, ...]

    def mapped(self, tensors: Mapping[Tensor, Tensor]) -> Values:
        """The same: it names no tensor."""
        del tensors
        return self


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch normalization makes of a constant: (base - mean) * factor + shift.

    The factor, scale / sqrt(variance + epsilon), and the others have a value for each position
    along `axis`. Without `base` it is 0; without `mean` and `shift`, only the factor is applied.
    """

    base: Tensor | None
    axis: int
    scale: Tensor
    variance: Tensor
    epsilon: float
    mean: Tensor | None = None
    shift: Tensor | None = None

    def mapped(self, tensors: Mapping[Tensor, Tensor]) -> Folded:
        """The same of a copy of the graph."""

        def known(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensors[tensor]

        return Folded(
            known(self.base),
            self.axis,
            tensors[self.scale],
            tensors[self.variance],
            self.epsilon,
            known(self.mean),
            known(self.shift),
        )


Recipe = Cast | Folded | Joined | Part | Values
"""How a constant that a rewrite introduces is made of stored ones."""
