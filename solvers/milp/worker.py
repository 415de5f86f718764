"""The child's side: build the program in MathOpt, solve it, and write what came out of it.

MathOpt is imported here only.  It cannot be loaded before TensorFlow in one process, and a crash of
a solver must not take the parent with it.
"""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["solve"]

# Tighter than the solvers' own 1e-6: sizes and costs are large beside their least difference.
_TOLERANCE = 1e-7


def solve(request: Mapping[str, object]) -> dict[str, object]:
    """Solve the program in the file `program`; values and duals go to the file `answer`."""
    from ortools.math_opt import model_pb2
    from ortools.math_opt.python import mathopt

    begin = time.process_time()
    with np.load(str(request["program"])) as arrays:
        data = {key: arrays[key] for key in arrays.files}
    n, rows = len(data["cost"]), len(data["row_lower"])
    integer = data["integer"]
    proto = model_pb2.ModelProto()
    proto.variables.ids.extend(range(n))
    proto.variables.lower_bounds.extend(data["lower"].tolist())
    proto.variables.upper_bounds.extend(data["upper"].tolist())
    proto.variables.integers.extend(integer.tolist())
    proto.objective.maximize = False
    used = np.flatnonzero(data["cost"])
    proto.objective.linear_coefficients.ids.extend(used.tolist())
    proto.objective.linear_coefficients.values.extend(data["cost"][used].tolist())
    proto.linear_constraints.ids.extend(range(rows))
    proto.linear_constraints.lower_bounds.extend(data["row_lower"].tolist())
    proto.linear_constraints.upper_bounds.extend(data["row_upper"].tolist())
    matrix = proto.linear_constraint_matrix
    matrix.row_ids.extend(np.repeat(np.arange(rows), np.diff(data["starts"])).tolist())
    matrix.column_ids.extend(data["columns"].tolist())
    matrix.coefficients.extend(data["values"].tolist())
    model = mathopt.Model.from_model_proto(proto)

    name = str(request["solver"])
    limit = cast("float | None", request["time_limit_s"])
    parameters = mathopt.SolveParameters(random_seed=cast("int", request["seed"]))
    if name != "highs":  # MathOpt does not pass it on; HiGHS searches with one thread
        parameters.threads = cast("int", request["threads"])
    if limit is not None:
        parameters.time_limit = datetime.timedelta(seconds=limit)
    if integer.any():
        parameters.relative_gap_tolerance = cast("float", request["relative_gap"])
        parameters.absolute_gap_tolerance = 0.0
    if name == "highs":
        parameters.highs.double_options["mip_feasibility_tolerance"] = _TOLERANCE
        parameters.highs.double_options["primal_feasibility_tolerance"] = _TOLERANCE
        parameters.highs.double_options["dual_feasibility_tolerance"] = _TOLERANCE
    elif name == "scip":
        parameters.gscip.real_params["numerics/feastol"] = _TOLERANCE
    elif name == "gurobi":
        parameters.gurobi.param_values["IntFeasTol"] = str(_TOLERANCE)
        parameters.gurobi.param_values["FeasibilityTol"] = str(_TOLERANCE)
    hints = mathopt.ModelSolveParameters()
    if "hint" in data:
        values = {model.get_variable(j): float(v) for j, v in enumerate(data["hint"])}
        hints.solution_hints.append(mathopt.SolutionHint(variable_values=values))
    kind = {
        "highs": mathopt.SolverType.HIGHS,
        "scip": mathopt.SolverType.GSCIP,
        "gurobi": mathopt.SolverType.GUROBI,
    }[name]
    built = time.process_time()
    result = mathopt.solve(model, kind, params=parameters, model_params=hints)
    answer: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {}
    if result.has_primal_feasible_solution():
        found = result.variable_values()
        answer["values"] = np.array([found[v] for v in model.variables()])
    if not integer.any() and result.has_dual_feasible_solution():
        duals = result.dual_values()
        answer["duals"] = np.array([duals[r] for r in model.linear_constraints()])
    np.savez(str(request["answer"]), **answer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bound = float(result.dual_bound())
    return {
        "reason": result.termination.reason.name,
        "bound": bound if np.isfinite(bound) else None,
        "nodes": int(result.solve_stats.node_count),
        "cpu_seconds": time.process_time(),
        "build_seconds": built - begin,
    }
