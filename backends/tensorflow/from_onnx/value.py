"""What an ONNX value is while it is emitted: a tensor in some physical order of its axes.

    native (ONNX)      [N, C, H, W]        order None
    channels last      [N, H, W, C]        order (0, 2, 3, 1): axis k is native axis order[k]

A Transpose of ONNX, and the NHWC that a convolution yields, are only an order: no data moves
until a consumer asks for an order that the value does not have yet. Elementwise operators,
reductions, concatenations and the like take any order and pass it on, so that transposes meet and
cancel. Every order asked for is made once. Moving axes of size 1 is a reshape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf

__all__ = ["Array", "Order", "Place", "Value", "agree", "compose", "invert", "last", "normal"]

Array: TypeAlias = npt.NDArray[np.generic]
Order: TypeAlias = tuple[int, ...] | None
Place: TypeAlias = Callable[[Array], Tensor]
"""How a constant gets into the graph: as a Const or as a variable's value."""


class Value:
    """A tensor, or a constant that is not in the graph yet."""

    __slots__ = ("_forms", "_place", "array", "order")

    def __init__(
        self,
        tensor: Tensor | None,
        order: Order = None,
        *,
        array: Array | None = None,
        place: Place | None = None,
    ) -> None:
        self.order = normal(order)
        self.array = array
        self._place = place
        self._forms: dict[Order, Tensor] = {}
        if tensor is not None:
            self._forms[self.order] = tensor

    def again(self) -> Value:
        """The same value for another graph: it shares no tensor that is made from here on."""
        known = self._forms.get(self.order)
        return Value(known, self.order, array=self.array, place=self._place)

    @property
    def placing(self) -> Place | None:
        """How it gets into the graph, where it is a constant."""
        return self._place

    @property
    def tensor(self) -> Tensor:
        """In ONNX's order."""
        return self.ordered(None)

    @property
    def physical(self) -> Tensor:
        """In the order that it has."""
        return self.ordered(self.order)

    @property
    def rank(self) -> int | None:
        """None where it is unknown."""
        if self.array is not None:
            return self.array.ndim
        return cast("int | None", self._forms[self.order].shape.rank)

    @property
    def dtype(self) -> object:
        """The `tf.DType`."""
        if self.array is not None:
            return tf.as_dtype(self.array.dtype) if self.array.dtype != object else tf.string
        return self._forms[self.order].dtype

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """In ONNX's order; None for an unknown rank or dimension."""
        if self.array is not None:
            return self.array.shape
        shape = self._forms[self.order].shape
        if shape.rank is None:
            return None
        sizes = cast("list[int | None]", shape.as_list())
        if self.order is None:
            return tuple(sizes)
        return tuple(sizes[axis] for axis in invert(self.order))

    @property
    def is_static(self) -> bool:
        """Whether all dimensions are known."""
        shape = self.shape
        return shape is not None and None not in shape

    @property
    def elements(self) -> int:
        """The number of elements, open dimensions counting as one."""
        return math.prod(size or 1 for size in self.shape or ())

    def ordered(self, order: Order) -> Tensor:
        """The tensor with its axes in this order."""
        order = normal(order)
        if order not in self._forms:
            if self.array is not None:
                array = self.array if order is None else self.array.transpose(order)
                place = self._place or _constant
                self._forms[order] = place(np.ascontiguousarray(array).reshape(array.shape))
            else:
                self._forms[order] = _moved(self._forms[self.order], self.order, order)
        return self._forms[order]

    def transposed(self, axes: Sequence[int]) -> Value:
        """ONNX's Transpose: native axis k of the result is native axis axes[k] of this."""
        if self.array is not None:
            return Value(None, array=self.array.transpose(axes), place=self._place)
        moved = Value(self._forms[self.order], compose(self.order, invert(tuple(axes))))
        back = invert(tuple(axes))
        moved._forms.update({compose(order, back): tensor for order, tensor in self._forms.items()})
        return moved


def _constant(array: Array) -> Tensor:
    tensor: Tensor = tf.constant(array)
    return tensor


def normal(order: Order) -> Order:
    """None for the identity."""
    return None if order is None or order == tuple(range(len(order))) else order


def invert(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes it."""
    return tuple(order.index(axis) for axis in range(len(order)))


def compose(order: Order, renaming: tuple[int, ...]) -> Order:
    """The order after native axis a has become native axis renaming[a]."""
    return normal(renaming if order is None else tuple(renaming[axis] for axis in order))


def last(rank: int) -> Order:
    """Channels last: [N, spatial..., C]."""
    return normal((0, *range(2, rank), 1)) if rank > 2 else None


def _moved(tensor: Tensor, have: Order, want: Order) -> Tensor:
    """Transpose between two orders; a reshape where only axes of size 1 move."""
    rank = len(cast("tuple[int, ...]", have or want))
    source = have or tuple(range(rank))
    target = want or tuple(range(rank))
    permutation = tuple(source.index(axis) for axis in target)
    sizes = cast("list[int | None]", tensor.shape.as_list())
    long = [axis for axis in permutation if sizes[axis] != 1]
    moved: Tensor
    if long == sorted(long):
        shape = [sizes[axis] for axis in permutation]
        if shape.count(None) <= 1:
            moved = tf.reshape(tensor, [-1 if size is None else size for size in shape])
            return moved
    moved = tf.transpose(tensor, permutation, name="layout")
    return moved


def agree(values: Sequence[Value]) -> tuple[list[Tensor], Order]:
    """Tensors of operands that broadcast together, in one order, and that order.

    The order that most elements are in wins; constants, and operands that only have one axis
    longer than 1, follow for free.
    """
    ranks = [value.rank for value in values]
    known = [rank for rank in ranks if rank is not None]
    if len(known) < len(ranks) or not any(value.order for value in values):
        return [value.tensor for value in values], None
    rank = max(known)
    votes: dict[Order, int] = {}
    for value in values:
        if value.array is None and value.rank == rank:
            votes[value.order] = votes.get(value.order, 0) + value.elements
    order = max(votes, key=lambda order: (votes[order], order is not None), default=None)
    if order is None:
        return [value.tensor for value in values], None
    return [_widened(value, rank).ordered(order) for value in values], order


def _widened(value: Value, rank: int) -> Value:
    """With leading axes of size 1 up to this rank."""
    short = rank - (value.rank or 0)
    if short == 0:
        return value
    if value.array is not None:
        wide = value.array.reshape((1,) * short + value.array.shape)
        return Value(None, array=wide, place=value.placing)
    tensor = value.tensor
    shape = value.shape or ()
    if shape.count(None) <= 1:
        return Value(tf.reshape(tensor, [1] * short + [-1 if s is None else s for s in shape]))
    for _ in range(short):
        tensor = tf.expand_dims(tensor, 0)
    return Value(tensor)
