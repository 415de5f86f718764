"""Commands on instance files: solve schedule, solve allocate, solve remat, check."""

from __future__ import annotations

import json
import os
import sys
import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.errors import InputError
from lowtide.live import show
from lowtide.outputs import SOURCE, refuse
from lowtide.solvers.status import Status
from lowtide.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution
    from lowtide.solvers.allocation.registry import Allocator
    from lowtide.solvers.schedule.problem import ScheduleProblem
    from lowtide.solvers.schedule.solution import ScheduleSolution

__all__ = ["Order", "allocate", "check", "remat", "schedule"]

TimeLimit = Annotated[str, typer.Option(help="30s, 500ms, 2m.", metavar="DURATION")]
Seed = Annotated[int, typer.Option(help="For everything random.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print the solution as JSON.")]

# Exit codes: nothing is within the capacity or budget (proven), or nothing was found that is.
_INFEASIBLE, _NOT_MET = 3, 4


class Order(StrEnum):
    """Which sequences `solve remat` may return."""

    FREE = "free"
    FIXED = "fixed"


def schedule(
    path: Annotated[Path, typer.Argument(help="An instance as JSON.", metavar="FILE.json")],
    time_limit: TimeLimit = "30s",
    seed: Seed = 0,
    solver: Annotated[
        str, typer.Option(help="exact, or a named order; `lowtide passes` lists them.")
    ] = "exact",
    certificate: Annotated[
        Path | None,
        typer.Option(help="Write a certificate of the lower bound.", metavar="OUT.json"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find an order with the least peak, and prove it where that is possible."""
    from lowtide.solvers.schedule.instance import read_instance
    from lowtide.solvers.schedule.registry import get_scheduler

    refuse({SOURCE: path}, {"--certificate": certificate})
    problem = read_instance(path)
    with show() as progress:
        progress.stage("schedule")
        solution = get_scheduler(solver)(
            problem,
            time_limit_s=parse_seconds(time_limit),
            seed=seed,
            start=(),
            progress=progress.bounds,
        )
        if certificate is not None:
            progress.stage("certify")
            _certify(problem, solution, certificate)
    if as_json:
        print(
            json.dumps(
                {
                    "status": solution.status,
                    "peak_bytes": solution.peak_bytes,
                    "lower_bound_bytes": solution.lower_bound_bytes,
                    "order": solution.order,
                    "seconds": solution.seconds,
                    "cpu_seconds": solution.cpu_seconds,
                    "method": solution.method,
                    "bound_method": solution.bound_method,
                }
            )
        )
        return
    print(f"status       {solution.status}: {solution.status.message}")
    if solution.peak_bytes is None:
        print("no order")
    else:
        print(f"peak         {solution.peak_bytes:,} bytes ({solution.method})")
    print(f"lower bound  {solution.lower_bound_bytes:,} bytes ({solution.bound_method})")
    print(f"time         {solution.seconds:.3f} s ({solution.cpu_seconds:.3f} CPU-s)")


def _certify(problem: ScheduleProblem, solution: ScheduleSolution, output: Path) -> None:
    """Write a certificate that the checker has accepted."""
    from lowtide.solvers.schedule.certificate import write_certificate
    from lowtide.solvers.schedule.certify import certify
    from lowtide.solvers.schedule.check_certificate import check_certificate

    made = certify(problem, solution)
    check_certificate(problem, made)
    write_certificate(made, output)
    if made.bound_bytes < solution.lower_bound_bytes:
        print(
            f"the certificate is of {made.bound_bytes:,} bytes: a proof of "
            f"{solution.lower_bound_bytes:,} was not found again in time",
            file=sys.stderr,
        )


def check(
    path: Annotated[Path, typer.Argument(help="An instance as JSON.", metavar="FILE.json")],
    certificate: Annotated[
        Path, typer.Argument(help="Of a scheduling bound.", metavar="CERTIFICATE.json")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check, without any solver, that no order of an instance is below a certificate's bound."""
    from lowtide.solvers.schedule.certificate import read_certificate
    from lowtide.solvers.schedule.check_certificate import check_certificate
    from lowtide.solvers.schedule.instance import read_instance

    claim = read_certificate(certificate)
    bound = check_certificate(read_instance(path), claim)
    if as_json:
        print(
            json.dumps(
                {
                    "valid": True,
                    "bound_bytes": bound,
                    "inputs_in_arena": claim.inputs_in_arena,
                    "outputs_live_to_end": claim.outputs_live_to_end,
                }
            )
        )
        return
    print(f"valid: no order has a peak below {bound:,} bytes")
    print(
        f"accounting: inputs {'in' if claim.inputs_in_arena else 'not in'} the arena, outputs "
        f"{'to the end' if claim.outputs_live_to_end else 'until their last use'}"
    )


def allocate(
    path: Annotated[Path, typer.Argument(help="Buffers as CSV.", metavar="FILE.csv")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the layout as CSV.", metavar="OUT.csv"),
    ] = None,
    capacity: Annotated[
        str | None, typer.Option(help="The most the height may be.", metavar="SIZE")
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(help="A memory, the fastest first; may be repeated.", metavar="NAME=SIZE"),
    ] = None,
    alignment: Annotated[int, typer.Option(help="Of every offset, in bytes.", min=1)] = 1,
    solver: Annotated[
        str | None,
        typer.Option(help="exact, pack, tflm_greedy, tflite_greedy_by_size, first_fit, best_fit."),
    ] = None,
    time_limit: TimeLimit = "10s",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Give every buffer an offset so that the arena is as low as possible."""
    from lowtide.solvers.allocation.check import check
    from lowtide.solvers.allocation.csv import read_csv, write_csv
    from lowtide.solvers.allocation.registry import available, get_allocator

    limit = None if capacity is None else parse_bytes(capacity)
    refuse({SOURCE: path}, {"-o": output})
    run = get_allocator(available()[0] if solver is None else solver)
    if pool:
        if limit is not None:
            raise InputError("--capacity belongs to one memory: give sizes in --pool, or drop one")
        problem = read_csv(path, alignment=alignment)
        _allocate_pools(problem, pool, output, run, parse_seconds(time_limit), seed, as_json)
        return
    problem = read_csv(path, alignment=alignment, capacity=limit)
    with show() as progress:
        progress.stage("allocate")
        solution = run(
            problem,
            time_limit_s=parse_seconds(time_limit),
            seed=seed,
            progress=progress.bounds,
        )
    check(problem, solution)
    offsets = None
    if solution.offsets is not None:
        offsets = {b.id: o for b, o in zip(problem.blocks, solution.offsets, strict=True)}
        if output is not None:
            write_csv(problem, output, solution.offsets)
    if as_json:
        print(
            json.dumps(
                {
                    "status": solution.status,
                    "height": solution.height,
                    "lower_bound": solution.lower_bound,
                    "offsets": offsets,
                    "seconds": solution.seconds,
                    "cpu_seconds": solution.cpu_seconds,
                    "method": solution.method,
                }
            )
        )
    else:
        print(f"status       {solution.status}: {solution.status.message}")
        print(f"height       {solution.height:,}" if solution.height is not None else "no layout")
        print(f"lower bound  {solution.lower_bound:,}")
        print(f"time         {solution.seconds:.3f} s ({solution.cpu_seconds:.3f} CPU-s)")
    _exit_for_capacity(solution, limit)


def _allocate_pools(
    problem: AllocationProblem,
    pools: list[str],
    output: Path | None,
    run: Allocator,
    time_limit_s: float,
    seed: int,
    as_json: bool,
) -> None:
    from lowtide.solvers.allocation.csv import write_csv
    from lowtide.solvers.allocation.pools import Pool, PoolProblem, allocate_pools

    memories: list[Pool] = []
    for text in pools:
        name, equals, size = text.partition("=")
        if not name or (equals and not size):
            raise InputError(f"the pool `{text}` is not NAME=SIZE, or NAME for one without a limit")
        memories.append(Pool(name, parse_bytes(size) if size else None, problem.alignment))
    started = time.perf_counter()
    with show() as progress:
        progress.stage("allocate")
        solution = allocate_pools(
            PoolProblem(problem.blocks, tuple(memories), problem.shares),
            time_limit_s=time_limit_s,
            seed=seed,
            packer=lambda part: run(
                part,
                # A pool's packing may take half of what is left, so that others get their turn.
                time_limit_s=max(0.0, time_limit_s - (time.perf_counter() - started)) / 2,
                seed=seed,
            ),
        )
    offsets = chosen = heights = None
    if solution.offsets is not None and solution.pools is not None:
        offsets = {b.id: o for b, o in zip(problem.blocks, solution.offsets, strict=True)}
        chosen = {
            b.id: memories[p].name for b, p in zip(problem.blocks, solution.pools, strict=True)
        }
        heights = {m.name: h for m, h in zip(memories, solution.heights or (), strict=True)}
        if output is not None:
            write_csv(problem, output, solution.offsets, pools=list(chosen.values()))
    if as_json:
        print(
            json.dumps(
                {
                    "status": solution.status,
                    "height": None if heights is None else sum(heights.values()),
                    "lower_bound": None,
                    "cost": solution.cost,
                    "cost_lower_bound": solution.lower_bound,
                    "offsets": offsets,
                    "pools": heights,
                    "pool": chosen,
                    "seconds": solution.seconds,
                    "cpu_seconds": solution.cpu_seconds,
                    "method": solution.method,
                }
            )
        )
    else:
        print(f"status       {solution.status}: {solution.status.message}")
        print("no layout" if heights is None else f"cost         {solution.cost:,}")
        print(f"lower bound  {solution.lower_bound:,}")
        for name, height in (heights or {}).items():
            print(f"pool         {name}: {height:,} bytes")
        print(f"time         {solution.seconds:.3f} s ({solution.cpu_seconds:.3f} CPU-s)")
    if solution.status is Status.INFEASIBLE:
        raise typer.Exit(_INFEASIBLE)
    if offsets is None:
        raise typer.Exit(_NOT_MET)


def _exit_for_capacity(solution: AllocationSolution, capacity: int | None) -> None:
    if solution.status is Status.INFEASIBLE:
        raise typer.Exit(_INFEASIBLE)
    if solution.height is None or (capacity is not None and solution.height > capacity):
        raise typer.Exit(_NOT_MET)


def remat(
    path: Annotated[Path, typer.Argument(help="An instance as JSON.", metavar="FILE.json")],
    budget: Annotated[
        str | None, typer.Option(help="The most the peak may be.", metavar="SIZE")
    ] = None,
    budget_ratio: Annotated[
        str | None,
        typer.Option(help="The same, as a part of the input order's peak: 0.7.", metavar="R"),
    ] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="What each budget costs, down to the least one.")
    ] = False,
    points: Annotated[
        int | None, typer.Option(help="Budgets of --pareto; default: 8.", min=2)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the front.", metavar="OUT.csv|OUT.json"),
    ] = None,
    order: Annotated[
        Order, typer.Option(help="Any order, or the input order with repeats in its stages.")
    ] = Order.FREE,
    solver: Annotated[
        str,
        typer.Option(
            help="auto (several), search, checkmate-milp, checkmate-lp-rounding, interval-cp, "
            "chen-sqrt, chen-greedy, ap-sqrt, ap-greedy, linearised-sqrt, linearised-greedy, "
            "griewank, chain, blocks, or another package's."
        ),
    ] = "auto",
    time_limit: TimeLimit = "30s",
    seed: Seed = 0,
    threads: Annotated[
        int | None,
        typer.Option(help="Solvers at a time; default: 1, all cores with --pareto.", min=1),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the cheapest sequence of runs, repeats among them, whose peak is within a budget."""
    from lowtide.cli.recomputation import print_solution, solution_as_json, trade_off
    from lowtide.solvers.remat.auto import AutoOptions, auto
    from lowtide.solvers.remat.check import check as check_remat
    from lowtide.solvers.remat.instance import read_named_instance
    from lowtide.solvers.remat.pareto import ParetoOptions
    from lowtide.solvers.remat.problem import OrderScope
    from lowtide.solvers.remat.registry import get_solver

    if pareto and (budget is not None or budget_ratio is not None):
        raise InputError("--pareto finds the budgets itself: drop --budget and --budget-ratio")
    if not pareto and (points is not None or output is not None):
        raise InputError("--points and --output belong to --pareto: add it, or drop them")
    if not pareto and (budget is None) == (budget_ratio is None):
        raise InputError("give one of --budget SIZE and --budget-ratio R, or --pareto")
    run = get_solver(solver)
    limit_s = parse_seconds(time_limit)
    scope = OrderScope.FREE if order is Order.FREE else OrderScope.FIXED
    if pareto:
        options = ParetoOptions(solver=solver, threads=threads or os.cpu_count() or 1)
        trade_off(path, output, scope, points or 8, limit_s, seed, options, as_json=as_json)
        return
    if threads is not None and threads > 1:
        if solver != "auto":
            raise InputError(f"the solver `{solver}` runs alone: drop --threads, or use auto")
        run = partial(auto, options=AutoOptions(threads=threads))
    instance = read_named_instance(path)
    problem = instance.problem
    if budget is not None:
        problem = problem.with_budget(parse_bytes(budget))
    elif budget_ratio is not None:
        problem = problem.with_budget_ratio(budget_ratio)
    with show() as progress:
        progress.stage("rematerialize")
        solution = run(
            problem,
            scope=scope,
            time_limit_s=limit_s,
            seed=seed,
            progress=lambda cost, bound: progress.costs(cost, bound, problem.base_cost),
        )
    check_remat(problem, solution)
    if as_json:
        print(solution_as_json(problem, solution, instance.node_names, solver))
    else:
        print_solution(problem, solution, instance.node_names)
    if solution.status is Status.INFEASIBLE:
        raise typer.Exit(_INFEASIBLE)
    if solution.sequence is None:
        raise typer.Exit(_NOT_MET)
