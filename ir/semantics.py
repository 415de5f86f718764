"""What an op computes, whatever its dialect calls it: what rewrites match on.

A dialect (`Dialect` in `passes/rewrite`) reads these off its ops and writes ops of its own from
them. Axes are those of the op's data and of its result, from 0, in the dialect's own layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.ir.op import Op
    from lowtide.ir.tensor import Tensor

__all__ = [
    "Add",
    "Concat",
    "Conversion",
    "Convolution",
    "Identity",
    "Meaning",
    "Normalization",
    "Pad",
    "Pointwise",
    "Pooling",
    "Slice",
    "Split",
    "Window",
    "common_padding",
]


@dataclass(frozen=True, slots=True)
class Window:
    """What one result reads along one axis: result i reads `i * stride - before + dilation * k`.

    Attributes:
        size: k runs from 0 to `size` - 1.
        stride: see above.
        dilation: see above.
        before: zeros in front of the data.
        after: zeros behind it.
    """

    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    @property
    def reach(self) -> int:
        """How many positions the window spans."""
        return self.dilation * (self.size - 1) + 1

    def results(self, length: int) -> int:
        """How many results `length` positions of data give."""
        return max(0, (length + self.before + self.after - self.reach) // self.stride + 1)

    def same(self, length: int) -> Window:
        """Padded so that the results are `length` over the stride, rounded up.

        No more is padded than that takes, half of it on each side, the odd zero behind.
        """
        results = -(-length // self.stride)
        total = max(0, (results - 1) * self.stride + self.reach - length)
        return replace(self, before=total // 2, after=total - total // 2)


def common_padding(windows: Mapping[int, Window], shape: Sequence[int]) -> frozenset[str]:
    """Which of the paddings `none` and `same` (`Window.same`) gives all windows what they read.

    What a window reads follows from `before` and the number of results: zeros behind the last
    position that is read are none.

    Args:
        windows: by axis.
        shape: of the data.
    """
    found = {"none", "same"}
    for axis, window in windows.items():
        length = shape[axis]
        options = {"none": replace(window, before=0, after=0), "same": window.same(length)}
        for name, option in options.items():
            reads = (option.before, option.results(length))
            if reads != (window.before, window.results(length)):
                found.discard(name)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Concat:
    """The operands, one after the other along `axis`; nothing else is done to them."""

    op: Op
    parts: tuple[Tensor, ...]
    axis: int


@dataclass(frozen=True, slots=True)
class Split:
    """The operand's consecutive parts along `axis`, one for each result."""

    op: Op
    data: Tensor
    axis: int


@dataclass(frozen=True, slots=True)
class Slice:
    """`data[start:stop]` along `axis`."""

    op: Op
    data: Tensor
    axis: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution: grouped where `groups` > 1, depthwise where each channel is a group.

    Attributes:
        op: the op.
        data: what is convolved.
        weights: the kernels.
        bias: one value for each channel of the result, or None.
        addend: added to the result before the activation, or None.
        channels: the axis of channels, of data and result.
        windows: by spatial axis.
        groups: channels of the result read those of the data in their own group only.
        inputs_axis: of the weights: the channels read; None where the weights of a depthwise
            convolution have none.
        outputs_axis: of the weights: the channels made.
        activation: whether a function is applied to the sum.
        exact_sums: partial sums give the same bits in whatever grouping (never so for floats, nor
            where the sum is rounded to a coarser type).
    """

    op: Op
    data: Tensor
    weights: Tensor
    bias: Tensor | None
    addend: Tensor | None
    channels: int
    windows: Mapping[int, Window]
    groups: int
    inputs_axis: int | None
    outputs_axis: int
    activation: bool
    exact_sums: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether every channel of the data is a group of its own."""
        return self.groups > 1 and self.groups == self.data.shape[self.channels]


@dataclass(frozen=True, slots=True)
class Pooling:
    """A reduction over a window, channel by channel; windows by spatial axis.

    It goes over the positions inside the data: padding is left out, of a mean's count as well. (An
    op that counts padding as data has no meaning here.)
    """

    op: Op
    data: Tensor
    channels: int
    windows: Mapping[int, Window]


@dataclass(frozen=True, slots=True)
class Pointwise:
    """Each element of the result is a function of the operand's element at the same index.

    Of the other operands, those in `per_channel` are constants with a value for each position along
    the axis `channels` of the data: (operand, its axis) pairs. The rest is the same everywhere.
    """

    op: Op
    data: Tensor
    channels: int | None = None
    per_channel: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization(Pointwise):
    """A batch normalization in inference: (data - mean) * scale / sqrt(variance + epsilon) + shift.

    All but the data are constants with a value for each channel.
    """

    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of operands of one shape and type; `activation` as in `Convolution`."""

    op: Op
    terms: tuple[Tensor, ...]
    activation: bool = False
    exact_sums: bool = False


@dataclass(frozen=True, slots=True)
class Pad:
    """Zeros around the data: what a convolution's own padding counts as.

    Attributes:
        op: the op.
        data: what is padded.
        sizes: zeros in front of the data and behind it, by axis; axes without any are left out.
    """

    op: Op
    data: Tensor
    sizes: Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Conversion:
    """The operand's values in another element type, which holds them exactly."""

    op: Op
    data: Tensor


@dataclass(frozen=True, slots=True)
class Identity:
    """The result is the operand: nothing is computed, and the shape is the same."""

    op: Op
    data: Tensor


Meaning = (
    Add | Concat | Conversion | Convolution | Identity | Pad | Pointwise | Pooling | Slice | Split
)
