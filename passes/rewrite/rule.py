"""What a rule is: where it applies, why not, and what it puts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Graph
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Refusal", "Rewrite", "Rule", "Settled"]


@dataclass(frozen=True, slots=True, order=True)
class Rewrite:
    """A rule applied at one place: `rule@op` or `rule@op:option`, as plans and reports name it.

    Attributes:
        rule: the rule's name.
        op: the op at which its pattern is anchored, by name.
        option: what the rule is to do there, where it has a choice.
    """

    rule: str
    op: str
    option: str = ""

    def __str__(self) -> str:
        return f"{self.rule}@{self.op}" + (f":{self.option}" if self.option else "")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A place where a rule's pattern is but the rule does not apply, and why."""

    rule: str
    op: str
    reason: str


class Rule(Protocol):
    """A rewrite rule: one file, its algebra stated."""

    @property
    def name(self) -> str:
        """Of the rule, as rewrites name it."""
        ...

    @property
    def exact(self) -> bool:
        """Whether the results stay the same bit for bit; if not, sums of floats are regrouped."""
        ...

    @property
    def options(self) -> bool:
        """Whether its rewrites have an option."""
        ...

    def settled(self, rewrite: Rewrite, sequence: Sequence[str]) -> Rewrite:
        """The rewrite with what it left open for a schedule, once there is one.

        Args:
            rewrite: one of the rule's.
            sequence: the ops of the rewritten graph, by name, as they were scheduled.
        """
        ...

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Where it applies, and where it does not though its pattern is there."""
        ...

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Change the graph at one of its sites; new names begin with the anchor's.

        Raises:
            PlanError: it is no site of this graph.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settled:
    """Base of rules whose rewrites have no option, and leave nothing open."""

    @property
    def options(self) -> bool:
        """None."""
        return False

    def settled(self, rewrite: Rewrite, sequence: Sequence[str]) -> Rewrite:
        """The rewrite itself."""
        del sequence
        return rewrite
