"""A mixed-integer linear program as plain arrays, a builder for it, and an exact check of points.

    minimise cost . x   with   row_lower <= A x <= row_upper,   lower <= x <= upper,
                               x_j an integer where integer[j]

Every variable is bounded, so that any row multipliers prove a bound (`dual_bound`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Builder", "LinearModel", "dual_bound", "satisfied"]


@dataclass(frozen=True, eq=False)
class LinearModel:
    """The arrays of a program to be minimised; rows in compressed form.

    Attributes:
        cost: per variable.
        lower: per variable, finite.
        upper: per variable, finite.
        integer: per variable.
        starts: row r has the entries starts[r] to starts[r + 1] of `columns` and `values`.
        columns: the variables of the entries, distinct and ascending in a row.
        values: their coefficients.
        row_lower: per row; -inf for none.
        row_upper: per row; inf for none.

    Raises:
        LowtideError: the arrays do not fit together.
    """

    cost: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    integer: NDArray[np.bool_]
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    row_lower: NDArray[np.float64]
    row_upper: NDArray[np.float64]

    def __post_init__(self) -> None:
        n, rows = len(self.cost), len(self.row_lower)
        if {len(self.lower), len(self.upper), len(self.integer)} != {n}:
            raise LowtideError(f"a linear program of {n} variables has arrays of other lengths")
        if len(self.row_upper) != rows or len(self.starts) != rows + 1:
            raise LowtideError(f"a linear program of {rows} rows has arrays of other lengths")
        if len(self.columns) != len(self.values) or self.starts[-1] != len(self.values):
            raise LowtideError("the entries of a linear program have arrays of different lengths")
        if len(self.columns) and not 0 <= self.columns.min() <= self.columns.max() < n:
            raise LowtideError(f"an entry of a linear program is not of its {n} variables")
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            raise LowtideError("a variable of a linear program is not bounded")

    @property
    def num_variables(self) -> int:
        """How many variables there are."""
        return len(self.cost)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.row_lower)


@dataclass
class Builder:
    """Collects variables and rows; a term may be a constant (a variable that was fixed)."""

    cost: list[float] = field(default_factory=list[float])
    lower: list[float] = field(default_factory=list[float])
    upper: list[float] = field(default_factory=list[float])
    integer: list[bool] = field(default_factory=list[bool])
    starts: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list[int])
    values: list[float] = field(default_factory=list[float])
    row_lower: list[float] = field(default_factory=list[float])
    row_upper: list[float] = field(default_factory=list[float])

    def variable(
        self, cost: float = 0.0, lower: float = 0.0, upper: float = 1.0, *, integer: bool = True
    ) -> int:
        """A new variable, by its index."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.cost) - 1

    def row(
        self,
        terms: Iterable[tuple[int, float]],
        lower: float = -math.inf,
        upper: float = math.inf,
    ) -> None:
        """A new row; terms of one variable are added up."""
        total: dict[int, float] = {}
        for column, value in terms:
            total[column] = total.get(column, 0.0) + value
        for column in sorted(total):
            if total[column]:
                self.columns.append(column)
                self.values.append(total[column])
        self.starts.append(len(self.columns))
        self.row_lower.append(lower)
        self.row_upper.append(upper)

    def build(self) -> LinearModel:
        """The program collected so far."""
        return LinearModel(
            cost=np.array(self.cost, dtype=np.float64),
            lower=np.array(self.lower, dtype=np.float64),
            upper=np.array(self.upper, dtype=np.float64),
            integer=np.array(self.integer, dtype=np.bool_),
            starts=np.array(self.starts, dtype=np.int64),
            columns=np.array(self.columns, dtype=np.int64),
            values=np.array(self.values, dtype=np.float64),
            row_lower=np.array(self.row_lower, dtype=np.float64),
            row_upper=np.array(self.row_upper, dtype=np.float64),
        )


def satisfied(model: LinearModel, point: Sequence[int]) -> bool:
    """Whether the integer `point` meets every bound and row, in exact arithmetic. O(entries)."""
    if len(point) != model.num_variables:
        return False
    for value, low, high in zip(point, model.lower, model.upper, strict=True):
        if not low <= value <= high:
            return False
    for r in range(model.num_rows):
        begin, end = int(model.starts[r]), int(model.starts[r + 1])
        total = Fraction(0)
        for k in range(begin, end):
            x = point[int(model.columns[k])]
            if x:
                total += Fraction(float(model.values[k])) * x
        if not model.row_lower[r] <= total <= model.row_upper[r]:
            return False
    return True


def dual_bound(model: LinearModel, duals: NDArray[np.float64]) -> float:
    """A lower bound on the cost of every point, whatever the multipliers `duals` of the rows are.

    For any y, cost . x = (cost - A'y) . x + y . (A x), where each term of the first part is least
    at one of the variable's bounds, and each of the second at one of the row's.  (A. Neumaier and
    O. Shcherbina, Safe bounds in linear and mixed-integer linear programming, 2004,
    doi:10.1007/s10107-003-0433-3.)  All sums are of fractions, so the bound is exact; it is rounded
    down once.  Multipliers of the wrong sign for a one-sided row are taken as 0. O(entries).
    """
    reduced = [Fraction(float(c)) for c in model.cost]
    total = Fraction(0)
    for r in range(model.num_rows):
        y = float(duals[r])
        if not math.isfinite(y):
            continue
        side = float(model.row_lower[r] if y > 0 else model.row_upper[r])
        if not y or math.isinf(side):
            continue
        exact = Fraction(y)
        total += exact * Fraction(side)
        for k in range(int(model.starts[r]), int(model.starts[r + 1])):
            reduced[int(model.columns[k])] -= exact * Fraction(float(model.values[k]))
    for d, low, high in zip(reduced, model.lower, model.upper, strict=True):
        if d:
            total += d * Fraction(float(low if d > 0 else high))
    down = float(total)
    return down if Fraction(down) <= total else math.nextafter(down, -math.inf)
