"""What is compared when a result is verified and measured: three ways to run one model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lowtide.backends.onnx.session import Order
    from lowtide.backends.onnx.stamp import Level, Route

__all__ = ["Case", "SessionRequest"]


class SessionRequest(TypedDict):
    """A session in a child process: a model and the options it is run with."""

    path: str
    level: Level
    order: Order
    arena: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One optimized model and what it came from.

    Attributes:
        original: the user's model.
        graph: the model whose operators were ordered: ONNX Runtime's own graph at `level`, or the
            original; in its default order it is what the plan must not be worse than.
        result: the emitted model.
        planned: the first output's name of every planned node, in order; empty if unknown.
        level: the optimisation level at which the original has the result's operators.
        route: how the result's order is obeyed.
        dims: sizes of named dimensions, `*` for all others.
        threads: intra-op threads, 0 for ONNX Runtime's choice.
        seed: of the random inputs.
    """

    original: Path
    graph: Path
    result: Path
    planned: tuple[str, ...] = ()
    level: Level = "all"
    route: Route = "exact"
    dims: Mapping[str, int] = field(default_factory=dict[str, int])
    threads: int = 0
    seed: int = 0

    def request(self) -> dict[str, object]:
        """The sessions by role, and what else a child process needs to run them."""
        level: Level = "basic" if self.route == "portable" else "none"

        def role(path: Path, at: Level, order: Order = "default", arena: bool = False) -> object:
            return SessionRequest(path=str(path.resolve()), level=at, order=order, arena=arena)

        return {
            "sessions": {
                "stock": role(self.original, "all", arena=True),
                "original": role(self.original, self.level, arena=self.level == "all"),
                "default": role(self.graph, level),
                "planned": role(self.result, level, "file" if self.route == "exact" else "default"),
            },
            "planned": list(self.planned),
            "dims": dict(self.dims),
            "threads": self.threads,
            "seed": self.seed,
        }
