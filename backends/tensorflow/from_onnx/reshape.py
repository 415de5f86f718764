"""Reshaping a value in the order that it has, where the reshape only splits and joins axes.

    [N, C, H, W]  ->  [N, g, C/g, H, W]      blocks  N|N  C|g,C/g  H|H  W|W
    [N, H, W, C]  ->  [N, H, W, g, C/g]      the same reshape, channels last

Old and new shape fall into blocks with equal products. Where the old axes of a block do not lie
side by side, in ONNX's order, a transpose brings them together (the shuffle of a ShuffleNet); the
new axes take their block's place. Where that would be ONNX's own order, the caller takes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf
from lowtide.backends.tensorflow.from_onnx.value import Order, Value, normal

__all__ = ["Flattened", "blocks", "flattened", "through"]

_Block = tuple[list[int], list[int]]


def blocks(old: Sequence[int | None], new: Sequence[int | None]) -> list[_Block] | None:
    """The axes of both shapes in blocks of equal products; None where they do not fall into such.

    An open dimension stands for one size, the same on both sides, and must be alone.
    """
    found: list[_Block] = []
    left, right = 0, 0
    while left < len(old) or right < len(new):
        one: list[int] = []
        two: list[int] = []
        if left < len(old) and old[left] is None:
            if right >= len(new) or new[right] is not None:
                return None
            found.append(([left], [right]))
            left, right = left + 1, right + 1
            continue
        if right < len(new) and new[right] is None:
            return None
        first, second = 1, 1
        if left < len(old):
            one.append(left)
            first *= old[left] or 0
            left += 1
        if right < len(new):
            two.append(right)
            second *= new[right] or 0
            right += 1
        while first != second:
            if first == 0 or second == 0:
                return None
            if first < second:
                if left >= len(old) or old[left] is None:
                    return None
                one.append(left)
                first *= old[left] or 0
                left += 1
            else:
                if right >= len(new) or new[right] is None:
                    return None
                two.append(right)
                second *= new[right] or 0
                right += 1
        found.append((one, two))
    return found


def through(value: Value, shape: Sequence[int | None]) -> Value | None:
    """The value reshaped in its own order; None where only ONNX's order allows it.

    One dimension of `shape` may be None or -1, if one of the value's own is open.
    """
    old = value.shape
    if value.order is None or old is None or value.array is not None:
        return None
    new = [None if size == -1 else size for size in shape]
    if new.count(None) != old.count(None) or new.count(None) > 1:
        return None
    pairs = blocks(old, new)
    if pairs is None:
        return None
    where = {axis: place for place, axis in enumerate(value.order)}
    placed: list[tuple[float, list[int], list[int]]] = []
    for one, two in pairs:
        if not one:
            # New axes of size 1 go beside the axis before them.
            placed.append((placed[-1][0] + 1e-3 if placed else -1.0, one, two))
            continue
        long = [axis for axis in one if old[axis] != 1] or one[:1]
        # A block whose axes lie apart is brought together at its last one, by a transpose.
        placed.append((float(max(where[axis] for axis in long)), one, two))
    placed.sort(key=lambda item: item[0])
    source = tuple(axis for _, axes, _ in placed for axis in axes)
    if normal(source) is None:
        return None
    order = tuple(axis for _, _, axes in placed for axis in axes)
    sizes = [new[axis] for axis in order]
    shape_now = [-1 if size is None else size for size in sizes]
    return Value(tf.reshape(value.ordered(source), shape_now), order)


class Flattened(Value):
    """[N, C*H*W] of a value that lies as [N, H, W, C]: rows of weights can follow it for free.

    A product with constant weights takes `lying` and permutes the weights' rows; everything else
    takes ONNX's order, which costs the transpose.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Value) -> None:
        super().__init__(None)
        self._source = source

    def again(self) -> Value:
        """As of any value."""
        return Flattened(self._source.again())

    @property
    def rank(self) -> int | None:
        """Two."""
        return 2

    @property
    def dtype(self) -> object:
        """The source's."""
        return self._source.dtype

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """[N, C*H*W]."""
        sizes = list(self._source.shape or ())
        return sizes[0], math.prod(size or 0 for size in sizes[1:])

    def ordered(self, order: Order) -> Tensor:
        """As of any value."""
        if None not in self._forms:
            rows, columns = self.shape or (None, None)
            flat = tf.reshape(self._source.tensor, [-1 if rows is None else rows, columns])
            self._forms[None] = flat
        if normal(order) is None:
            return self._forms[None]
        return Value(self._forms[None]).ordered(order)

    @property
    def lying(self) -> Tensor:
        """The rows with their elements as they lie."""
        rows, columns = self.shape or (None, None)
        flat: Tensor = tf.reshape(self._source.physical, [-1 if rows is None else rows, columns])
        return flat

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """For each element of a row as it lies, its place in ONNX's row."""
        sizes = [size or 0 for size in (self._source.shape or ())[1:]]
        order = cast("tuple[int, ...]", self._source.order)
        inner = [axis - 1 for axis in order if axis != 0]
        places = np.arange(math.prod(sizes), dtype=np.int64).reshape(sizes)
        return places.transpose(inner).reshape(-1)

    def transposed(self, axes: Sequence[int]) -> Value:
        """As of any value."""
        return Value(self.tensor).transposed(axes)


def flattened(value: Value, shape: Sequence[int | None]) -> Flattened | None:
    """[N, everything else] of a value in another order; None where this is not such a reshape."""
    old = value.shape
    if value.order is None or value.order[0] != 0 or old is None or len(shape) != 2:
        return None
    if value.array is not None or None in old[1:] or len(old) < 3:
        return None
    columns = math.prod(size or 0 for size in old[1:])
    rows = None if shape[0] in (None, -1) else shape[0]
    known = None if shape[1] in (None, -1) else shape[1]
    if columns == 0 or (known is not None and known != columns):
        return None
    if rows is not None and rows != old[0]:
        return None
    if rows is None and known is None:
        return None
    return Flattened(value)
