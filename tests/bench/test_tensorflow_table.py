"""Tables of the benchmark of training steps, and which plan is taken; nothing is run."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import numpy as np

from lowtide.bench.tensorflow import chosen
from lowtide.bench.tensorflow_table import BatchCell, BudgetCell, RivalCell, Tables, text_of
from lowtide.training.plan import TrainingPlan

if TYPE_CHECKING:
    from lowtide.training.step import PlannedFunction

MIB = 1 << 20


def budget_cell(
    network: str, budget: float, measured: int, *, identical: bool = True
) -> BudgetCell:
    return BudgetCell(
        network=network,
        budget=budget,
        budget_bytes=int(10 * budget * MIB),
        predicted_peak=int(10 * budget * MIB),
        measured_peak=measured * MIB,
        bound_bytes=3 * MIB,
        predicted_seconds=1.0 if budget == 1.0 else 1.1,
        measured_seconds=2.0,
        recomputed=0,
        identical=identical,
    )


def test_rows_say_what_is_not_as_promised() -> None:
    tables = Tables()
    tables.put(
        [budget_cell("Net", 1.0, 10), budget_cell("Net", 0.9, 9), budget_cell("Net", 0.8, 8)]
    )
    lines = text_of(tables).splitlines()
    assert lines[2] == "| Net 1 | 10.0 | 10.0 | 10.0 | yes | 0.0 | 2000 | 0.0 | 0 | yes |"
    assert lines[3] == "| Net 0.9 | 9.0 | 9.0 | 9.0 | yes | 10.0 | 2000 | 0.0 | 0 | yes |"
    assert "falls: none." in lines[6]
    assert "3.0 (Net)" in lines[6]
    tables.put([budget_cell("Net", 0.9, 8), budget_cell("Net", 0.8, 9, identical=False)])
    lines = text_of(tables).splitlines()
    assert lines[3] == "| Net 0.8 | 8.0 | 8.0 | 9.0 | NO | 0.0 | 2000 | 0.0 | 0 | NO |"
    assert "falls: Net 0.8." in lines[5]


def test_rivals_are_compared_by_a_geometric_mean() -> None:
    cells = [
        RivalCell(network, "one", MIB, theirs, MIB, 1.0, 0.5, 2.0, 1.0, 0.5)
        for network, theirs in (("A", 4.0), ("B", 1.0))
    ]
    unmet = RivalCell("C", "one", MIB, 1.0, None, None, 0.5, 2.0, None, 0.5)
    tables = Tables(
        [], [*cells, unmet], [BatchCell("Net", 4, MIB, 10, MIB, None, 0.25, None, None)]
    )
    text = text_of(tables)
    assert "geometric mean of 2: 0.500 predicted, 0.500 measured" in text
    assert "| C one | 1.0 | - | 500 | 1000 | - | 100.0 | - | 300.0 | - |" in text
    assert "| Net | 1.0 | 4 | 10 | 2.50x | 1.0 | - | 0.25 | - | - |" in text


def test_a_run_replaces_rows_of_its_networks_only() -> None:
    batch = BatchCell("A", 4, MIB, 10, MIB, None, 0.25, None, None)
    tables = Tables([budget_cell("A", 1.0, 10), budget_cell("B", 1.0, 10)], [], [batch])
    tables.put([budget_cell("A", 1.0, 11), budget_cell("A", 0.9, 9)])
    assert [(c.network, c.measured_peak // MIB) for c in tables.budgets] == [
        ("B", 10),
        ("A", 11),
        ("A", 9),
    ]
    assert tables.batches == [batch]
    first, second, again = (
        RivalCell("A", rival, peak, 1.0, None, None, 0.5, 2.0, None, 0.5)
        for rival, peak in (("one", 1), ("two", 2), ("one", 3))
    )
    tables.put([first, second])
    tables.put([again])
    assert tables.rivals == [second, again]
    assert Tables.from_dict(json.loads(json.dumps(asdict(tables)))) == tables


def test_the_cheapest_plan_within_a_budget_is_taken() -> None:
    class Planned:
        def __init__(self, peak: int, cost: float) -> None:
            self.plan = TrainingPlan((), peak, 100, peak, 0, 1.0, cost, 0, 0, 0, 0, 0, True)

    # The plan for the budget of 80 is cheaper than the one for 90, and meets both.
    found = cast("list[PlannedFunction]", [Planned(90, 1.2), Planned(80, 1.1), Planned(50, 1.4)])
    picks = [chosen(found, budget) for budget in (95, 85, 70, 40)]
    assert picks == [found[1], found[1], found[2], None]


def test_results_are_compared_bit_for_bit() -> None:
    from lowtide.bench.tensorflow_runs import identical

    one = [np.array([0.0, np.nan], np.float32)]
    assert identical(one, [one[0].copy()])
    assert not identical(one, [np.array([-0.0, np.nan], np.float32)])
    assert not identical(one, [one[0].astype(np.float64)])
    assert not identical(one, [])
