"""Windows that slide over spatial axes: sizes, strides, dilations and exact padding, once for all.

pads from the file, or auto_pad            ->  (before, after) of each axis
ceil_mode                                  ->  more after the end, where the last window needs it
pads as TensorFlow's SAME would have them  ->  "SAME", which kernels do without a copy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lowtide.backends.tensorflow.from_onnx.call import Call
from lowtide.backends.tensorflow.from_onnx.lazy import Tensor, tf

__all__ = ["Window", "same_pads", "window"]


@dataclass(frozen=True, slots=True)
class Window:
    """One window, of as many dimensions as there are spatial axes.

    Attributes:
        pads: what the file asks for, (before, after) each; None for SAME on sizes not known yet.
        extra: what ceil_mode adds behind that.
        outputs: how many windows each axis has; None where that is not known.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...] | None
    extra: tuple[int, ...]
    outputs: tuple[int | None, ...]
    lower: bool = False

    @property
    def reach(self) -> tuple[int, ...]:
        """The extent of the window, dilated."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def full(self) -> tuple[tuple[int, int], ...] | None:
        """Pads and extra together."""
        if self.pads is None:
            return None
        return tuple((b, a + e) for (b, a), e in zip(self.pads, self.extra, strict=True))

    def is_same(self, sizes: Sequence[int | None]) -> bool:
        """Whether TensorFlow's SAME pads exactly so."""
        if self.pads is None:
            return not self.lower
        for size, reach, stride, pads in zip(
            sizes, self.reach, self.strides, self.full or (), strict=True
        ):
            if size is None and stride != 1:
                return False
            if same_pads(size if size is not None else 1 << 20, reach, stride) != pads:
                return False
        return True

    def padded(self, x: Tensor, fill: object) -> Tensor:
        """[N, spatial..., C] with the pads around it."""
        if self.pads is not None:
            pairs: object = [(0, 0), *(self.full or ()), (0, 0)]
            if not any(map(any, self.full or ())):
                return x
        else:
            shape = tf.shape(x)
            pairs = [[0, 0]]
            for axis, (reach, stride) in enumerate(zip(self.reach, self.strides, strict=True)):
                size = shape[axis + 1]
                total = tf.maximum(((size + stride - 1) // stride - 1) * stride + reach - size, 0)
                less = total // 2
                pairs.append([total - less, less] if self.lower else [less, total - less])
            pairs.append([0, 0])
            pairs = tf.convert_to_tensor(pairs)
        padded: Tensor = tf.pad(x, pairs, constant_values=fill)
        return padded


def same_pads(size: int, reach: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's SAME (ONNX's SAME_UPPER) pads."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def window(call: Call, kernel: Sequence[int], sizes: Sequence[int | None]) -> Window:
    """The window that a node's attributes describe, for an input of these spatial sizes.

    Raises:
        ModelError: the attributes contradict each other, or need sizes that are open.
    """
    count = len(kernel)
    strides = call.ints("strides") or (1,) * count
    dilations = call.ints("dilations") or (1,) * count
    flat = call.ints("pads") or (0,) * (2 * count)
    auto = call.text("auto_pad", "NOTSET")
    if not len(strides) == len(dilations) == count == len(flat) // 2:
        call.fail(
            f"kernel {list(kernel)}, strides {list(strides)}, dilations {list(dilations)} and pads "
            f"{list(flat)} are not all for {count} spatial axes"
        )
    if min(strides) < 1 or min(dilations) < 1 or min(kernel) < 1:
        call.fail("strides, dilations and kernel sizes must be positive")
    if min(flat) < 0:
        call.fail(f"negative pads {list(flat)}: cut the input with a Slice before it")
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pads: tuple[tuple[int, int], ...] | None
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if None in sizes:
            pads = None
        else:
            pads = tuple(
                same_pads(size or 0, r, s) for size, r, s in zip(sizes, reach, strides, strict=True)
            )
            if auto == "SAME_LOWER":
                pads = tuple((after, before) for before, after in pads)
    elif auto in ("NOTSET", "VALID", ""):
        pads = tuple(
            (flat[i], flat[i + count]) if auto != "VALID" else (0, 0) for i in range(count)
        )
    else:
        call.fail(f"auto_pad `{auto}` is unknown")
    outputs: list[int | None] = []
    extra: list[int] = []
    ceil = bool(call.integer("ceil_mode", 0))
    for axis, size in enumerate(sizes):
        if size is None or pads is None:
            if ceil and strides[axis] != 1:
                call.fail("ceil_mode needs the input's size: bind it with --dim NAME=VALUE")
            outputs.append(None)
            extra.append(0)
            continue
        before, after = pads[axis]
        room = size + before + after - reach[axis]
        if ceil:
            windows = -(-room // strides[axis]) + 1
            if (windows - 1) * strides[axis] >= size + before:
                windows -= 1
        else:
            windows = room // strides[axis] + 1
        extra.append(max((windows - 1) * strides[axis] - room, 0))
        outputs.append(windows)
    lower = auto == "SAME_LOWER"
    return Window(
        tuple(kernel), tuple(strides), tuple(dilations), pads, tuple(extra), tuple(outputs), lower
    )
