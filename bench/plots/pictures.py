"""Which pictures there are, and what of the results they show."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.bench.instances import FAMILIES, family_of
from lowtide.bench.plots.dumbbell import dumbbells
from lowtide.bench.plots.panels import Panel, panels
from lowtide.bench.plots.strip import Strip, strips
from lowtide.bench.record import load
from lowtide.bench.tensorflow_table import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowtide.bench.record import Record
    from lowtide.bench.tensorflow_table import RivalCell

__all__ = ["PICTURES"]

_ORDERS = {
    "serenity": "SERENITY's method, 5 s",
    "file": "file",
    "ort_default": "ONNX Runtime's",
    "xla": "best of XLA's three",
    "inductor": "Inductor's",
    "kahn": "Kahn",
    "dfs": "depth first",
    "list": "list scheduling",
}
_RIVALS = {
    "tf.recompute_grad": "tf.recompute_grad",
    "checkmate-lp-rounding": "Checkmate's LP rounding",
    "griewank": "Griewank",
}


def orders(results: Path) -> str:
    """Peaks of other orders over ours."""
    peaks = _by_case(load(results / "schedules.json"), "peak")
    proven = sum("exact" in ways for ways in peaks.values())
    rows = [
        Strip(
            name,
            tuple(
                (case, FAMILIES.index(family_of(case)), ways[who] / ways["exact"])
                for case, ways in peaks.items()
                if ways.get(who) and ways["exact"]
            ),
        )
        for who, name in _ORDERS.items()
    ]
    return strips(
        "Peaks of other orders over the least one",
        f"A dot for each of {proven} graphs in every row; 1x is the optimum. Means are geometric.",
        "peak over the proven optimum, one dot a graph",
        FAMILIES,
        rows,
    )


def layouts(results: Path) -> str:
    """Heights of allocators over the peak that they are to reach."""
    record = load(results / "allocations.json")
    goals = {
        row["name"]: row["goal"] for part in ("instances", "arenas") for row in record.rows[part]
    }
    hard = {row["name"] for row in record.rows["instances"]}
    ways: dict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for measure in record.measures:
        if measure.what == "height" and goals[measure.case]:
            ratio = max(1.0, measure.value / goals[measure.case])
            ways[measure.who].append((measure.case, int(measure.case in hard), ratio))
    return strips(
        "Heights of layouts over what they are to reach",
        "Arenas of optimal orders, to be as high as the order's peak, and MiniMalloc's instances, "
        "to fit their capacity. Means are geometric.",
        "height over the peak, or over the capacity",
        ("arena of an optimal order", "MiniMalloc's instance"),
        [Strip(name.replace("_", " "), tuple(dots)) for name, dots in ways.items()],
    )


def onnxruntime(results: Path) -> str:
    """What ONNX Runtime allocates, by itself and in our order."""
    peaks = _by_case(load(results / "models.json"), "measured peak")
    arenas = _by_case(load(results / "models.json"), "arena")
    return dumbbells(
        "What ONNX Runtime allocates in a run",
        "Measured bytes of activations and scratch, as parts of a stock session's.",
        "measured, as a part of a stock session's",
        ("stock session", "its order, without its arena", "Lowtide: order and arena"),
        {
            name: (ways["ONNX Runtime"], ways["ONNX Runtime's order"], arenas[name]["lowtide"])
            for name, ways in peaks.items()
        },
    )


def tflm(results: Path) -> str:
    """Heads of the arena in TensorFlow Lite Micro, as the file was and as written."""
    edge = load(results / "edge.json")
    executed = _by_case(edge, "arena")
    rows: dict[str, tuple[float | None, ...]] = {
        name: (ways["TFLite Micro"], None, ways["lowtide"])
        for name, ways in _by_case(edge, "head").items()
        if name in executed
    }
    for name, ways in _by_case(load(results / "tiling.json"), "head").items():
        rows[name] = (ways["file"], ways["head"], ways["planned"])
    return dumbbells(
        "The arena's head in TensorFlow Lite Micro",
        "Bytes of tensors and scratch, as parts of what TFLite Micro's planner needs for the file; "
        "outputs are the same bit for bit.",
        "as a part of what its own planner needs",
        ("TFLite Micro's planner", "Lowtide, with bands of rows", "Lowtide, order and plan"),
        rows,
    )


def tensorflow(results: Path) -> str:
    """Training steps: extra time over the peak that remains, ours and others'."""
    tables = Tables.from_dict(load(results / "tensorflow.json").rows)
    found: list[Panel] = []
    for name in dict.fromkeys(cell.network for cell in tables.budgets):
        cells = [cell for cell in tables.budgets if cell.network == name]
        plain = next(cell for cell in cells if cell.budget == 1.0)
        base, whole = plain.measured_seconds, plain.measured_peak
        if not base:
            continue
        curve = tuple(
            (cell.measured_peak / whole, 100 * (cell.measured_seconds / base - 1))
            for cell in cells
            if cell.measured_seconds
        )
        rivals = tuple(
            (1 + list(_RIVALS).index(cell.rival), _RIVALS[cell.rival], part, more)
            for cell in tables.rivals
            if cell.network == name and cell.rival in _RIVALS
            for part, more in _point(cell, whole)
        )
        found.append(Panel(name, curve, rivals))
    return panels(
        "Training steps in TensorFlow: extra time over the peak that remains",
        "For each network the measured CPU time above the plain step, over the measured peak as a "
        "part of the plain step's: a line for Lowtide, dots for others.",
        "measured peak, as a part of the plain step's; upwards, extra CPU time",
        ("Lowtide", *_RIVALS.values()),
        found,
    )


def _point(cell: RivalCell, whole: int) -> list[tuple[float, float]]:
    if not cell.rival_seconds or not cell.base_seconds:
        return []
    more = 100 * (cell.rival_seconds / cell.base_seconds - 1)
    return [(cell.measured_peak / whole, more)]


def tvm(results: Path) -> str:
    """TVM's plans and ours."""
    arenas = _by_case(load(results / "tvm.json"), "arena")
    return dumbbells(
        "Memory plans in TVM",
        "Bytes of intermediate tensors in TVM's plan and in ours.",
        "arena, as a part of TVM's plan",
        ("TVM's plan", "Lowtide"),
        {
            name.removeprefix("light_"): (ways["TVM"], ways["lowtide"])
            for name, ways in arenas.items()
        },
    )


def _by_case(record: Record, what: str) -> dict[str, dict[str, float]]:
    """Values by case and by whose they are."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for measure in record.measures:
        if measure.what == what:
            found[measure.case][measure.who] = measure.value
    return found


PICTURES: dict[str, Callable[[Path], str]] = {
    "orders": orders,
    "layouts": layouts,
    "onnxruntime": onnxruntime,
    "tflm": tflm,
    "tensorflow": tensorflow,
    "tvm": tvm,
}
