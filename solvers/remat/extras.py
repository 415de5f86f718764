"""Extra costs in exact arithmetic, and the sums of costs that can occur at all.

Costs that are floats are fractions with powers of two below the line, so every sum of them is exact
here.  An extra cost is a sum of costs of single runs; a bound from floating-point arithmetic may
hence be raised to the next sum that there is.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lowtide.solvers.remat.problem import RematProblem

__all__ = ["cost_with_extra", "extra_of", "next_sum", "step_below"]

# Sums are tabulated up to this many multiples of their greatest common divisor.
_MAX_TABLE = 1 << 22
# A limit this much (relatively) below another is told apart by a solver that works in floats: where
# the limit is about 1000, this is ten times the feasibility tolerance of 1e-7.
_RESOLUTION = Fraction(1, 1_000_000_000)


def extra_of(problem: RematProblem, sequence: Sequence[int]) -> Fraction:
    """What the repeats of a sequence cost."""
    total = sum((Fraction(problem.costs[v]) for v in sequence), Fraction(0))
    return total - sum(map(Fraction, problem.costs), Fraction(0))


def cost_with_extra(problem: RematProblem, extra: Fraction) -> int | float:
    """The cost of running all once and of `extra`, as `cost_of` rounds it (monotonously)."""
    total = sum(map(Fraction, problem.costs), Fraction(0)) + extra
    if all(isinstance(cost, int) for cost in problem.costs):
        return math.ceil(total)
    return float(total)


def _divisor(costs: Iterable[Fraction]) -> Fraction:
    below = 1
    items = list(costs)
    for cost in items:
        below = math.lcm(below, cost.denominator)
    return Fraction(math.gcd(*(int(cost * below) for cost in items)), below)


def step_below(costs: Iterable[int | float], value: Fraction) -> Fraction:
    """How far below `value` a limit for something cheaper may be set and still be met by it.

    Half the greatest common divisor of the costs, if a solver's floats tell that apart; else 1e-9
    of the value, and what lies between has to be excluded by `next_sum`.
    """
    items = [f for cost in set(costs) if (f := Fraction(cost)) and f <= value]
    if not items:
        return value / 2
    return max(_divisor(items) / 2, value * _RESOLUTION)


def next_sum(costs: Iterable[int | float], at_least: Fraction, at_most: Fraction) -> Fraction:
    """The least sum of costs (each any number of times) in [at_least, at_most]; else `at_most`."""
    if at_least <= 0:
        return min(Fraction(0), at_most)
    items = sorted({f for cost in costs if (f := Fraction(cost)) and f <= at_most})
    if not items:
        return at_most
    unit = _divisor(items)
    low, high = math.ceil(at_least / unit), math.ceil(at_most / unit)
    if high <= _MAX_TABLE:
        sums, mask = 1, (1 << (high + 1)) - 1
        for item in items:
            shift = int(item / unit)
            while shift <= high:  # any number of copies, by doubling
                sums = (sums | sums << shift) & mask
                shift *= 2
        rest = sums >> low
        if not rest:
            return at_most
        low += (rest & -rest).bit_length() - 1
    return min(low * unit, at_most)
