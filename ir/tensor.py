"""Tensors of the graph IR: what they are, where they come from, and whose storage they share."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lowtide.ir.op import Op
    from lowtide.ir.recipe import Recipe

__all__ = ["Alias", "Role", "Tensor", "Use"]


class Role(StrEnum):
    """What a tensor is to the graph; it decides whether and how long its bytes count."""

    INPUT = "input"  # handed over by the caller
    OUTPUT = "output"  # handed to the caller
    CONSTANT = "constant"  # weights and other initializers: reported apart, never in the peak
    STATE = "state"  # lives across executions (variables)
    ACTIVATION = "activation"  # produced and consumed inside


class Alias(NamedTuple):
    """Storage shared by construction (a view): `offset` bytes into the storage of `base`."""

    base: Tensor
    offset: int


class Use(NamedTuple):
    """One use of a tensor: input number `position` of `op`."""

    op: Op
    position: int


class Tensor:
    """A value of the graph. Equality is identity; change it only through `Graph`'s methods.

    Attributes:
        name: unique in its graph.
        dtype: the element type's name, as in `ir.dtype`.
        shape: the dimensions, all known; empty for a scalar.
        nbytes: the bytes of storage, without alignment. Zero for a value that holds none.
        role: see `Role`.
        producer: the op that makes it; None for inputs, constants and state.
        alias: the tensor whose storage this one shares, or None when it has its own.
        like: for a tensor that a rewrite introduced, the one whose element type it has, with scale
            and zero point.
        recipe: for a constant that a rewrite introduced, how it is made.
    """

    __slots__ = (
        "_uses",
        "alias",
        "dtype",
        "like",
        "name",
        "nbytes",
        "producer",
        "recipe",
        "role",
        "shape",
    )

    def __init__(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        nbytes: int,
        role: Role = Role.ACTIVATION,
        alias: Alias | None = None,
        like: Tensor | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.nbytes = nbytes
        self.role = role
        self.alias = alias
        self.like = like
        self.recipe = recipe
        self.producer: Op | None = None
        self._uses: dict[Use, None] = {}

    @property
    def uses(self) -> tuple[Use, ...]:
        """All uses, in the order in which they were made (deterministic)."""
        return tuple(self._uses)

    @property
    def consumers(self) -> tuple[Op, ...]:
        """The distinct ops that use this tensor, in order of first use."""
        return tuple(dict.fromkeys(use.op for use in self._uses))

    @property
    def storage(self) -> Tensor:
        """The tensor at the root of the alias chain, whose bytes this one lives in."""
        root = self
        while root.alias is not None:
            root = root.alias.base
        return root

    def __repr__(self) -> str:
        dims = ",".join(map(str, self.shape))
        return f"<Tensor {self.name} {self.dtype}[{dims}] {self.role}>"
