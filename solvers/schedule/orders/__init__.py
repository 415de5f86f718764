"""Named orders: the heuristics that users run today, and those that start our search.

    ORDERS["file"](problem) -> a topological order of the nodes, as a tuple

Every order is deterministic and valid for every problem; none looks at a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.solvers.schedule.orders.dfs import dfs, dfs_last, dfs_small
from lowtide.solvers.schedule.orders.file import file, kahn
from lowtide.solvers.schedule.orders.inductor import (
    inductor,
    inductor_bfs,
    inductor_dfs,
    inductor_lpmf,
)
from lowtide.solvers.schedule.orders.list import list_by_memory
from lowtide.solvers.schedule.orders.ort_default import ort_default
from lowtide.solvers.schedule.orders.xla import xla, xla_dfs, xla_list, xla_post_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["ORDERS"]

ORDERS: dict[str, Callable[[ScheduleProblem], tuple[int, ...]]] = {
    "file": file,
    "kahn": kahn,
    "ort_default": ort_default,
    "dfs": dfs,
    "dfs_last": dfs_last,
    "dfs_small": dfs_small,
    "list": list_by_memory,
    "xla": xla,
    "xla_list": xla_list,
    "xla_dfs": xla_dfs,
    "xla_post_order": xla_post_order,
    "inductor": inductor,
    "inductor_lpmf": inductor_lpmf,
    "inductor_bfs": inductor_bfs,
    "inductor_dfs": inductor_dfs,
}
"""Every named order: from a problem to a permutation of its nodes."""
