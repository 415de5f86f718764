"""Pure optimization on plain integers: problems in, checked solutions out; no graph, no format.

    from lowtide.solvers import ScheduleProblem, solve_schedule
    solve_schedule(problem, time_limit_s=10.0).peak_bytes

Scheduling: `ScheduleProblem` (of `Buffer` and `InPlace`), `solve_schedule` (exact), `ORDERS`
(heuristics), `get_scheduler` (by name, third parties' too), `check_schedule`, `peak_of`,
`read_instance`; `certify` and `check_certificate` for a bound that others can check.
Allocation: `AllocationProblem` (of `Block`), `solve_allocation` (exact), `get_allocator` (by name,
third parties' too), `pack`, `lower_bound`, `conflicts`, `check_allocation`, `read_csv`,
`write_csv`; several memories: `PoolProblem` (of `Pool`), `allocate_pools`, `check_pools`.
Rematerialization: `RematProblem`, `solve_remat` (search), `get_remat_solver` (by name),
`pareto_remat` (what each budget costs), `explain_remat` (why one is impossible), `check_remat`,
`read_remat`, in `OrderScope.FREE` or `FIXED`.
Both: `arena_of` (an order's buffers as an allocation problem), `pack_order` (order and layout).
All are described in solvers/README.md.
Both return a solution with a `Status`. Names are resolved on first use (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.solvers.allocation.bound import lower_bound
    from lowtide.solvers.allocation.check import check as check_allocation
    from lowtide.solvers.allocation.conflicts import conflicts
    from lowtide.solvers.allocation.csv import read_csv, write_csv
    from lowtide.solvers.allocation.exact import ExactAllocationOptions
    from lowtide.solvers.allocation.exact import allocate as solve_allocation
    from lowtide.solvers.allocation.pack import pack
    from lowtide.solvers.allocation.pools import (
        Pool,
        PoolProblem,
        PoolSolution,
        allocate_pools,
        check_pools,
    )
    from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
    from lowtide.solvers.allocation.registry import get_allocator
    from lowtide.solvers.joint import Layout, pack_order
    from lowtide.solvers.lifetimes import arena_of
    from lowtide.solvers.remat.check import check as check_remat
    from lowtide.solvers.remat.explain import explain as explain_remat
    from lowtide.solvers.remat.instance import read_instance as read_remat
    from lowtide.solvers.remat.pareto import pareto as pareto_remat
    from lowtide.solvers.remat.problem import OrderScope, RematProblem
    from lowtide.solvers.remat.registry import get_solver as get_remat_solver
    from lowtide.solvers.remat.search import search as solve_remat
    from lowtide.solvers.remat.solution import RematSolution
    from lowtide.solvers.schedule.certificate import (
        Certificate,
        read_certificate,
        write_certificate,
    )
    from lowtide.solvers.schedule.certify import certify
    from lowtide.solvers.schedule.check import check as check_schedule
    from lowtide.solvers.schedule.check import peak_of
    from lowtide.solvers.schedule.check_certificate import check_certificate
    from lowtide.solvers.schedule.exact import ExactOptions
    from lowtide.solvers.schedule.exact import schedule as solve_schedule
    from lowtide.solvers.schedule.instance import read_instance
    from lowtide.solvers.schedule.orders import ORDERS
    from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem
    from lowtide.solvers.schedule.registry import get_scheduler
    from lowtide.solvers.schedule.solution import ScheduleSolution
    from lowtide.solvers.status import Status

__all__ = [
    "ORDERS",
    "AllocationProblem",
    "AllocationSolution",
    "Block",
    "Buffer",
    "Certificate",
    "ExactAllocationOptions",
    "ExactOptions",
    "InPlace",
    "Layout",
    "OrderScope",
    "Pool",
    "PoolProblem",
    "PoolSolution",
    "RematProblem",
    "RematSolution",
    "ScheduleProblem",
    "ScheduleSolution",
    "Status",
    "allocate_pools",
    "arena_of",
    "certify",
    "check_allocation",
    "check_certificate",
    "check_pools",
    "check_remat",
    "check_schedule",
    "conflicts",
    "explain_remat",
    "get_allocator",
    "get_remat_solver",
    "get_scheduler",
    "lower_bound",
    "pack",
    "pack_order",
    "pareto_remat",
    "peak_of",
    "read_certificate",
    "read_csv",
    "read_instance",
    "read_remat",
    "solve_allocation",
    "solve_remat",
    "solve_schedule",
    "write_certificate",
    "write_csv",
]

_HOME = {
    "OrderScope": ("remat.problem", "OrderScope"),
    "RematProblem": ("remat.problem", "RematProblem"),
    "RematSolution": ("remat.solution", "RematSolution"),
    "check_remat": ("remat.check", "check"),
    "explain_remat": ("remat.explain", "explain"),
    "get_remat_solver": ("remat.registry", "get_solver"),
    "pareto_remat": ("remat.pareto", "pareto"),
    "read_remat": ("remat.instance", "read_instance"),
    "solve_remat": ("remat.search", "search"),
    "ORDERS": ("schedule.orders", "ORDERS"),
    "AllocationProblem": ("allocation.problem", "AllocationProblem"),
    "AllocationSolution": ("allocation.problem", "AllocationSolution"),
    "Block": ("allocation.problem", "Block"),
    "Buffer": ("schedule.problem", "Buffer"),
    "Certificate": ("schedule.certificate", "Certificate"),
    "ExactAllocationOptions": ("allocation.exact", "ExactAllocationOptions"),
    "Layout": ("joint", "Layout"),
    "arena_of": ("lifetimes", "arena_of"),
    "pack_order": ("joint", "pack_order"),
    "solve_allocation": ("allocation.exact", "allocate"),
    "ExactOptions": ("schedule.exact", "ExactOptions"),
    "Pool": ("allocation.pools", "Pool"),
    "PoolProblem": ("allocation.pools", "PoolProblem"),
    "PoolSolution": ("allocation.pools", "PoolSolution"),
    "allocate_pools": ("allocation.pools", "allocate_pools"),
    "check_pools": ("allocation.pools", "check_pools"),
    "conflicts": ("allocation.conflicts", "conflicts"),
    "get_allocator": ("allocation.registry", "get_allocator"),
    "InPlace": ("schedule.problem", "InPlace"),
    "ScheduleProblem": ("schedule.problem", "ScheduleProblem"),
    "ScheduleSolution": ("schedule.solution", "ScheduleSolution"),
    "Status": ("status", "Status"),
    "certify": ("schedule.certify", "certify"),
    "check_allocation": ("allocation.check", "check"),
    "check_certificate": ("schedule.check_certificate", "check_certificate"),
    "check_schedule": ("schedule.check", "check"),
    "get_scheduler": ("schedule.registry", "get_scheduler"),
    "lower_bound": ("allocation.bound", "lower_bound"),
    "pack": ("allocation.pack", "pack"),
    "peak_of": ("schedule.check", "peak_of"),
    "read_certificate": ("schedule.certificate", "read_certificate"),
    "read_csv": ("allocation.csv", "read_csv"),
    "read_instance": ("schedule.instance", "read_instance"),
    "solve_schedule": ("schedule.exact", "schedule"),
    "write_certificate": ("schedule.certificate", "write_certificate"),
    "write_csv": ("allocation.csv", "write_csv"),
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        module, attribute = _HOME[name]
        value: object = getattr(importlib.import_module(f"lowtide.solvers.{module}"), attribute)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'lowtide.solvers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
