"""The native packer of a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import InstanceError
from lowtide.solvers import _native

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem

__all__ = ["native_packer"]


def native_packer(problem: AllocationProblem) -> _native.Packer:
    """The blocks with the pairs that meet, ready to be placed.

    Raises:
        InstanceError: more than 2^26 pairs of blocks meet in time.
    """
    try:
        return _native.Packer(
            [
                (
                    b.lower,
                    b.upper,
                    b.size,
                    -1 if b.offset is None else b.offset,
                    problem.alignment_of(b),
                )
                for b in problem.blocks
            ],
            [(k, *gap) for k, b in enumerate(problem.blocks) for gap in b.gaps],
            problem.shares,
        )
    except ValueError as error:
        raise InstanceError(
            f"the {len(problem.blocks)} buffers cannot be packed: {error}"
        ) from error
