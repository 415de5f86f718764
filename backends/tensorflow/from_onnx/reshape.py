"""Reshaping a value in the order that it has, where the reshape only splits and joins axes.

    [N, C, H, W]  ->  [N, g, C/g, H, W]      blocks  N|N  C|g,C/g  H|H  W|W
    [N, H, W, C]  ->  [N, H, W, g, C/g]      the same reshape, channels last

Old and new shape fall into blocks with equal products. The physical reshape is possible where the
old axes of every block lie side by side, in ONNX's order, in the physical one; the new axes take
their block's place. Where they do not, nothing is lost: the caller takes ONNX's order.
"""

from __future__ import annotations

from collections.abc import Sequence

from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.value import Value

__all__ = ["blocks", "through"]

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

    Only one dimension of `shape` may be None or -1, and must be one of the value's own.
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
    placed: list[tuple[float, list[int]]] = []
    for one, two in pairs:
        if not two:
            continue  # axes of size 1 that vanish
        if not one:
            # New axes of size 1 go beside the axis before them.
            before = placed[-1][0] + 1e-3 if placed else -1.0
            placed.append((before, two))
            continue
        long = [axis for axis in one if old[axis] != 1] or one[:1]
        places = [where[axis] for axis in long]
        inside = range(places[0], places[-1] + 1)
        strangers = [p for p in inside if p not in places and old[value.order[p]] != 1]
        if places != sorted(places) or strangers:
            return None
        placed.append((float(places[0]), two))
    order = tuple(axis for _, axes in sorted(placed, key=lambda item: item[0]) for axis in axes)
    sizes = [new[axis] for axis in order]
    return Value(tf.reshape(value.physical, [-1 if s is None else s for s in sizes]), order)
