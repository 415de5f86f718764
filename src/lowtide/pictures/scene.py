"""What is drawn, as plain data: names, bytes, steps and offsets; nothing of it knows a format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.pictures.hot import HotRegion
    from lowtide.pictures.record import Record
    from lowtide.report import Report

__all__ = ["Block", "Kind", "Moment", "Run", "Scene", "Verdict"]


class Kind(StrEnum):
    """What a block of bytes is; it decides the colour. Of several, the first that holds."""

    WORKSPACE = "workspace"  # scratch of one op
    RECOMPUTED = "recomputed"  # made by an op that ran before
    OUTPUT = "output"
    INPUT = "input"
    IN_PLACE = "in place"  # several tensors, each written over the one before
    ACTIVATION = "activation"


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes that are live from step `start` to `stop` (half-open).

        offset
          |   ┌────────────┐
          |   │ a      b   │ nbytes      b is written over a at step births[1]
          |   └────────────┘
          +───start───────stop── step

    Attributes:
        names: the tensors in it, in order of birth; of workspace, the op.
        types: element type and shape of each; empty for workspace.
        births: the step at which each is born.
        offset: in the arena; None where it has no place there.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    births: tuple[int, ...]
    nbytes: int
    start: int
    stop: int
    offset: int | None
    kind: Kind

    def name_at(self, step: int) -> str:
        """The tensor that is in it at a step; of workspace, whose it is."""
        if self.kind is Kind.WORKSPACE:
            return f"workspace of {self.names[0]}"
        found = self.names[0]
        for name, birth in zip(self.names, self.births, strict=True):
            if birth <= step:
                found = name
        return found


@dataclass(frozen=True, slots=True)
class Moment:
    """One step: the op that runs, and the bytes that are live meanwhile.

    Attributes:
        again: the op ran before.
    """

    op: str
    kind: str
    live_bytes: int
    workspace_bytes: int
    again: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One execution.

    Attributes:
        arena_bytes: the height of the layout; None where there is none.
        unplaced: blocks with bytes but no offset.
        own_layout: the layout is one that was made for the picture.
    """

    moments: tuple[Moment, ...]
    blocks: tuple[Block, ...]
    peak_bytes: int
    peak_step: int
    arena_bytes: int | None
    unplaced: int
    own_layout: bool

    def live_at(self, step: int) -> tuple[Block, ...]:
        """The blocks that are live at a step, largest first, ties in order of birth."""
        live = [block for block in self.blocks if block.start <= step < block.stop]
        return tuple(sorted(live, key=lambda block: -block.nbytes))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome: a word for it, whether it is `good`, `fair` or `bad` news, and a sentence."""

    word: str
    tone: str
    sentence: str

    @classmethod
    def of_budget(cls, *, met: bool, sentence: str) -> Verdict:
        """Whether a budget is met."""
        return cls("budget met" if met else "budget not met", "good" if met else "bad", sentence)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a picture or a page shows.

    Attributes:
        name: of the model, for people.
        before: in the source order.
        after: as planned.
        lower_bound_bytes: no order has a lower peak; 0 where nothing is known.
        hot: the ops around the planned peak; None in an empty graph.
        record: how the solvers came to it; None where that was not recorded.
        runs_again: how often each op runs beyond once, by its name.
        verdict: else the report's own.
        own_allocator: of a runtime that places each tensor when it is made, its name. There is no
            arena then, and the layout only shows lifetimes.
    """

    name: str
    before: Run
    after: Run
    lower_bound_bytes: int
    budget_bytes: int | None
    hot: HotRegion | None
    report: Report
    record: Record | None
    runs_again: Mapping[str, int]
    verdict: Verdict | None = None
    own_allocator: str = ""
