"""The constants that a rewrite introduced, made from the file's own.

Scales follow the data: where a constant has one for each position along an axis, a part along that
axis has those of its positions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide.errors import ModelError
from lowtide.flatbuffer import Node
from lowtide.ir import Cast, Joined, Part, Values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from lowtide.ir import Tensor

    Elements = NDArray[np.uint8]

__all__ = ["Constants"]

_SCALES = ("min", "max", "scale", "zero_point")  # one for each position along the axis
_NARROW = ("int2", "uint2", "int4", "uint4", "opaque")


class Constants:
    """Evaluates recipes; each constant once."""

    def __init__(
        self, data: Callable[[Tensor], memoryview], quantization: Callable[[Tensor], Node | None]
    ) -> None:
        """Recipes over a file.

        Args:
            data: the bytes of a constant that the file holds.
            quantization: its `QuantizationParameters`.
        """
        self._stored = data
        self._quantization = quantization
        self._made: dict[Tensor, tuple[Elements, Node | None]] = {}

    def data(self, tensor: Tensor) -> bytes:
        """The bytes of a constant.

        Raises:
            ModelError: it cannot be made.
        """
        return self._of(tensor)[0].tobytes()

    def quantization(self, tensor: Tensor) -> Node | None:
        """Its scales; None where it has none."""
        return self._of(tensor)[1]

    def _of(self, tensor: Tensor) -> tuple[Elements, Node | None]:
        found = self._made.get(tensor)
        if found is None:
            found = self._made[tensor] = self._make(tensor)
            expected = (*tensor.shape, _width(tensor))
            if found[0].shape != expected:
                raise ModelError(
                    f"constant `{tensor.name}` should have the shape {list(tensor.shape)}, its "
                    f"recipe makes {list(found[0].shape[:-1])}"
                )
        return found

    def _make(self, tensor: Tensor) -> tuple[Elements, Node | None]:
        recipe = tensor.recipe
        if isinstance(recipe, Part):
            elements, quantization = self._of(recipe.base)
            cut = (slice(None),) * recipe.axis + (slice(recipe.start, recipe.stop),)
            return elements[cut], _part(quantization, recipe)
        if isinstance(recipe, Joined):
            parts = [self._of(part) for part in recipe.parts]
            joined = np.concatenate([elements for elements, _ in parts], axis=recipe.axis)
            return joined, _joined(tensor, [q for _, q in parts], recipe)
        if isinstance(recipe, Cast):
            return _cast(self._of(recipe.base)[0], recipe.base, tensor), None
        if isinstance(recipe, Values):
            like = tensor.like
            quantization = None if like is None else self._quantization(like)
            return _values(tensor, recipe), quantization
        shape = (*tensor.shape, _width(tensor))
        elements = np.frombuffer(self._stored(tensor), np.uint8)
        if elements.size != math.prod(shape):
            raise ModelError(f"constant `{tensor.name}` is not stored in the file as it is")
        return elements.reshape(shape), self._quantization(tensor)


def _width(tensor: Tensor) -> int:
    """Bytes of an element."""
    if tensor.dtype in _NARROW:
        raise ModelError(f"constant `{tensor.name}` is {tensor.dtype}: such are not cut or joined")
    if tensor.dtype == "bfloat16":
        return 2
    try:
        return np.dtype(tensor.dtype).itemsize
    except TypeError:
        raise ModelError(f"constant `{tensor.name}` is {tensor.dtype}: unknown here") from None


def _values(tensor: Tensor, recipe: Values) -> Elements:
    width = _width(tensor)
    if tensor.dtype == "bfloat16":
        raise ModelError(f"constant `{tensor.name}` is bfloat16: numbers are not turned into it")
    count = math.prod(tensor.shape)
    items = recipe.items if len(recipe.items) != 1 else recipe.items * count
    if len(items) != count:
        raise ModelError(f"constant `{tensor.name}` has {count} elements, its recipe {len(items)}")
    try:
        array = np.array(items, np.dtype(tensor.dtype))
    except OverflowError:
        raise ModelError(f"constant `{tensor.name}`: {tensor.dtype} cannot hold {items}") from None
    return np.frombuffer(array.tobytes(), np.uint8).reshape((*tensor.shape, width))


def _cast(elements: Elements, base: Tensor, tensor: Tensor) -> Elements:
    if (base.dtype, tensor.dtype) != ("float16", "float32"):
        raise ModelError(
            f"constant `{tensor.name}`: {base.dtype} is not converted to {tensor.dtype}"
        )
    half = np.frombuffer(elements.tobytes(), np.float16)
    return np.frombuffer(half.astype(np.float32).tobytes(), np.uint8).reshape((*base.shape, 4))


def _axis(quantization: Node | None) -> int | None:
    """The axis along which scales differ."""
    if quantization is None or len(quantization.numbers("scale")) < 2:
        return None
    return int(quantization.number("quantized_dimension"))


def _part(quantization: Node | None, recipe: Part) -> Node | None:
    if quantization is None or _axis(quantization) != recipe.axis:
        return quantization
    made = quantization.copy()
    length = recipe.base.shape[recipe.axis]
    for name in _SCALES:
        values = quantization.numbers(name)
        if len(values) == length:
            made.set_numbers(name, cast("tuple[float, ...]", values)[recipe.start : recipe.stop])
    return made


def _joined(tensor: Tensor, found: list[Node | None], recipe: Joined) -> Node | None:
    first = found[0]
    alike = all(_same(first, other) for other in found)
    # Lists along the axis itself are as long as a part: those of all parts follow one another.
    if alike and (first is None or _axis(first) != recipe.axis):
        return first
    nodes = [node for node in found if node is not None]
    if len(nodes) < len(found) or any(_axis(node) != recipe.axis for node in nodes):
        raise ModelError(f"constant `{tensor.name}` is joined from parts of several scales")
    made = nodes[0].copy()
    for name in _SCALES:
        values = [number for node in nodes for number in node.numbers(name)]
        if len(values) == tensor.shape[recipe.axis]:
            made.set_numbers(name, values)
        else:
            made.fields.pop(name, None)
    return made


def _same(one: Node | None, other: Node | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(
        one.numbers(name) == other.numbers(name) for name in ("scale", "zero_point")
    ) and _axis(one) == _axis(other)
