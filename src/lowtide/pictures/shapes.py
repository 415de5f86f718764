"""Curves and rectangles as SVG paths, for pictures and for the page.

top ┌──────────────┐ bytes
    │   ┌─┐  frame │
    │ ┌─┘ └──      │
  0 └──────────────┘ steps
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lowtide.pictures.scene import Block

__all__ = ["Frame", "curve", "envelope", "number", "rectangles", "round_up", "tick_label", "ticks"]

_MOST_POINTS = 8000  # of a curve; above, a point is the highest of several steps


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of the picture, and what its sides mean: steps from 0, bytes from 0 upwards.

    Paths are written with `digits` decimals.
    """

    left: float
    top: float
    width: float
    height: float
    steps: int
    bytes: int
    digits: int = 2

    def x(self, step: float) -> float:
        """Where a step begins."""
        return self.left + self.width * step / max(self.steps, 1)

    def y(self, count: float) -> float:
        """The height of a number of bytes."""
        return self.top + self.height * (1 - count / max(self.bytes, 1))

    def at(self, step: float, count: float) -> tuple[float, float]:
        """Both, rounded."""
        return round(self.x(step), self.digits), round(self.y(count), self.digits)


def number(value: float) -> str:
    """At most two decimals, and none that are zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def curve(values: Sequence[int], frame: Frame) -> str:
    """One stair per step, from the floor and back to it, closed along it."""
    group = -(-len(values) // _MOST_POINTS) or 1
    left, floor = frame.at(0, 0)
    parts = [f"M{number(left)} {number(floor)}"]
    x, y = left, floor
    for index, value in enumerate(envelope(values, group)):
        start, height = frame.at(index * group, value)
        if height != y:
            parts.append(f"h{number(start - x)}" * (start != x) + f"v{number(height - y)}")
            x, y = start, height
    end, _ = frame.at(len(values), 0)
    return "".join(parts) + f"h{number(end - x)}V{number(floor)}Z"


def envelope(values: Sequence[int], group: int) -> list[int]:
    """The highest of every `group` values."""
    return [max(values[at : at + group]) for at in range(0, len(values), group)]


def rectangles(blocks: Iterable[Block], frame: Frame) -> str:
    """One path of all blocks that have an offset: time to the right, address upwards.

    What is too flat to be seen is left out.
    """
    parts: list[str] = []
    for block in blocks:
        if block.offset is None:
            continue
        x, low = frame.at(block.start, block.offset)
        right, high = frame.at(block.stop, block.offset + block.nbytes)
        if low > high and right > x:
            height, width = number(low - high), number(right - x)
            parts.append(f"M{number(x)} {number(low)}v-{height}h{width}v{height}z")
    return "".join(parts)


def round_up(count: int) -> tuple[int, int]:
    """A round number of bytes that is not below, and the distance of its three to six ticks."""
    unit = 1
    while unit * 1024 < count:
        unit *= 1024
    for factor in (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 256, 320):
        for part in (4, 1) if unit > 1 and factor < 4 else (1,):
            step = factor * unit // part
            if step * 5 >= count:
                return -(-count // step) * step or 1, step
    return unit * 1024, unit * 256


def tick_label(count: int, top: int) -> str:
    """A number of bytes beside the scale, in the unit of its highest tick."""
    power = min(max(top.bit_length() - 1, 0) // 10, 4)
    unit = f" {'KMGT'[power - 1]}iB" if power else " B"
    return f"{number(count / 1024**power)}{unit}" if count else "0"


def ticks(steps: int, most: int) -> tuple[int, ...]:
    """Round step numbers from 0 to `steps`, at most about `most`."""
    distance = 1
    for factor in (1, 2, 5):
        scale = 1
        while steps / (factor * scale) > most:
            scale *= 10
        distance = factor * scale if factor == 1 else min(distance, factor * scale)
    return tuple(range(0, steps + 1, max(distance, 1)))
