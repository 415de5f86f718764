"""Plans on disk, found again by what they were made from.

    key = sha256(graph as text, costs, budget, solver, seed, limits, version)

A plan is data about one graph: the caller simulates it again before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.errors import PlanError
from lowtide.ir import print_graph
from lowtide.training.plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Graph

__all__ = ["cache_folder", "plan_key", "read_plan", "write_plan"]

_VERSION = 2


def cache_folder() -> Path:
    """`lowtide` under `XDG_CACHE_HOME`, else under the home's `.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "lowtide"


def plan_key(graph: Graph, costs: Mapping[object, int], settings: Mapping[str, object]) -> str:
    """The name of a plan: equal for equal graphs, costs and settings."""
    digest = hashlib.sha256(print_graph(graph).encode())
    digest.update(json.dumps([costs[op] for op in graph.ops]).encode())
    digest.update(json.dumps([op.workspace_bytes for op in graph.ops]).encode())
    digest.update(json.dumps({**settings, "version": _VERSION}, sort_keys=True).encode())
    return digest.hexdigest()


def read_plan(folder: Path, key: str) -> TrainingPlan | None:
    """The plan of that name; None if there is none, or it is damaged."""
    try:
        data = cast("dict[str, object]", json.loads((folder / f"{key}.json").read_text()))
        return TrainingPlan.from_dict(data)
    except (OSError, ValueError, PlanError, AttributeError):
        return None


def write_plan(folder: Path, key: str, plan: TrainingPlan) -> None:
    """Keep a plan; a folder that cannot be written is no error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{key}.{os.getpid()}.partial"
        partial.write_text(json.dumps(plan.to_dict()))
        partial.replace(folder / f"{key}.json")
    except OSError:
        return
