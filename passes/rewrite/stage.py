"""`rewrite` in a pipeline: which rewrites may come before everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import InputError
from lowtide.passes.rewrite.registry import EXACT, RULES

if TYPE_CHECKING:
    from lowtide.passes.rewrite.rule import Rule
    from lowtide.passes.state import State

__all__ = ["CHOICES", "Rewriting"]

CHOICES = ("none", "exact", "float")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Rewrite the source model where that lowers the peak.

    Rewrites come before the runtime's own import and fusions, planning comes after them: the job
    rewrites the model before the graph of a `State` is there, and this pass leaves that as it is.

    Attributes:
        rules: `exact`: those that keep every bit; `float`: also those that regroup sums of floats.
        tiles: whether regions may be run tile by tile.
    """

    rules: str = "exact"
    tiles: bool = True

    def __post_init__(self) -> None:
        if self.rules not in CHOICES:
            raise InputError(f"rewrite: `{self.rules}` is not one of {', '.join(CHOICES)}")

    @property
    def allowed(self) -> tuple[Rule, ...]:
        """The rules that may be used."""
        return {"none": (), "exact": EXACT, "float": RULES}[self.rules]

    def __call__(self, state: State) -> State:
        """The state as it is."""
        return state
