"""The rules by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.passes.rewrite.cancel import Cancel
from lowtide.passes.rewrite.constants import Constants
from lowtide.passes.rewrite.flatten import Flatten
from lowtide.passes.rewrite.fold import Fold
from lowtide.passes.rewrite.identity import Identity
from lowtide.passes.rewrite.kernelwise import Kernelwise
from lowtide.passes.rewrite.pad import Pad
from lowtide.passes.rewrite.rule import Rewrite
from lowtide.passes.rewrite.sums import Sums
from lowtide.passes.rewrite.through import Through
from lowtide.passes.rewrite.tiling import Tiling

if TYPE_CHECKING:
    from lowtide.passes.rewrite.rule import Rule

__all__ = ["EXACT", "RULES", "TILING", "parse_rewrite", "rule"]

RULES: tuple[Rule, ...] = (
    Identity(),
    Constants(),
    Cancel(),
    Pad(),
    Flatten(),
    Through(),
    Kernelwise(),
    Fold(),
    Sums(),
)
TILING = Tiling()  # chosen by a search of its own
EXACT: tuple[Rule, ...] = tuple(r for r in RULES if r.exact)


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        PlanError: there is none.
    """
    for each in (*RULES, TILING):
        if each.name == name:
            return each
    names = ", ".join(each.name for each in (*RULES, TILING))
    raise PlanError(f"there is no rewrite rule `{name}`; there are {names}")


def parse_rewrite(text: str) -> Rewrite:
    """A rewrite as plans name it: `rule@op` or `rule@op:option`.

    The option is what follows the last colon, where the rule has options.

    Raises:
        PlanError: the text is no rewrite.
    """
    name, at, rest = text.partition("@")
    if not at or not rest:
        raise PlanError(f"`{text}` is no rewrite: one reads `kernelwise@conv_3`")
    if not rule(name).options:
        return Rewrite(name, rest)
    op, colon, option = rest.rpartition(":")
    if not colon or not op:
        raise PlanError(f"`{text}`: the rule `{name}` needs an option behind a colon")
    return Rewrite(name, op, option)
