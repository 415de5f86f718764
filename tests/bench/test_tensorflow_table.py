"""Tables of the benchmark of training steps; nothing is run."""

from __future__ import annotations

from lowtide.bench.tensorflow_table import BatchCell, BudgetCell, RivalCell, text_of

MIB = 1 << 20


def test_unmet_budgets_say_what_was_met() -> None:
    met = BudgetCell("Net", 0.9, 9 * MIB, 8 * MIB, 8 * MIB, 0.1, 0.2, 3, identical=False)
    unmet = BudgetCell("Net", 0.5, 5 * MIB, 6 * MIB, None, None, None, None, None)
    lines = text_of([met, unmet], [], []).splitlines()
    assert lines[2] == "| Net 0.9 | 9.0 | 8.0 | 8.0 | 100 | 200 | 3 | NO |"
    assert lines[3] == "| Net 0.5 | 5.0 | not met; 6.0 is | - | - | - | - | - |"
    assert len(lines) == 4


def test_rivals_are_compared_by_a_geometric_mean() -> None:
    cells = [
        RivalCell("Net", rival, MIB, theirs, MIB, 1.0, 0.5, 2.0, 1.0, 0.5)
        for rival, theirs in (("one", 4.0), ("two", 1.0))
    ]
    text = text_of([], cells, [BatchCell("Net", 4, MIB, 10, MIB, None, 0.25)])
    assert "geometric mean of 2: 0.500 predicted, 0.500 measured" in text
    assert "| Net | 1.0 | 4 | 10 | 2.50x | 1.0 | - | 0.25 |" in text
