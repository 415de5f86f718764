"""Which rows a tile's op is fed: against running the whole op."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.ir.semantics import Window
from lowtide.passes.rewrite.rows import Padding, Rows, fits, paddings

POISON = 10**9


def run(window: Window, data: np.ndarray) -> np.ndarray:
    """The op along one axis: a weighted sum, every position with a weight of its own."""
    weights = 3 ** np.arange(window.size)
    padded = np.concatenate(
        [np.zeros(window.before, np.int64), data, np.zeros(window.after, np.int64)]
    )
    return np.array(
        [
            sum(
                weights[k] * padded[i * window.stride + window.dilation * k]
                for k in range(window.size)
            )
            for i in range(window.results(len(data)))
        ],
        np.int64,
    )


def same(size: int, stride: int, dilation: int, length: int) -> Window:
    results = -(-length // stride)
    total = max(0, (results - 1) * stride + dilation * (size - 1) + 1 - length)
    return Window(size, stride, dilation, total // 2, total - total // 2)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Window, int, Rows, Rows, tuple[Padding, ...]]:
    size, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2))
    length = draw(st.integers(1, 24))
    kind = draw(st.sampled_from(["same", "valid", "any"]))
    if kind == "same":
        window = same(size, stride, dilation, length)
    else:
        before = draw(st.integers(0, 3)) if kind == "any" else 0
        after = draw(st.integers(0, 3)) if kind == "any" else 0
        window = Window(size, stride, dilation, before, after)
    results = window.results(length)
    assume(results > 0)
    start = draw(st.integers(0, results - 1))
    wanted = Rows(start, draw(st.integers(start + 1, results)))
    if kind == "any":
        return window, length, wanted, wanted, (Padding.ANY,)
    held = Rows(wanted.start - draw(st.integers(0, 2)), wanted.stop + draw(st.integers(0, 2)))
    choices = [(Padding.SAME,), (Padding.VALID,), (Padding.SAME, Padding.VALID)]
    return window, length, wanted, held, draw(st.sampled_from(choices))


@given(cases())
@settings(max_examples=400, deadline=None)
def test_wanted_rows_come_out_whatever_the_garbage(
    case: tuple[Window, int, Rows, Rows, tuple[Padding, ...]],
) -> None:
    window, length, wanted, held, allowed = case
    data = np.arange(1, length + 1, dtype=np.int64) ** 2
    whole = run(window, data)
    for fit in fits(window, length, wanted, held, allowed, most=100):
        assert Rows(0, length).covers(fit.operand)
        assert fit.operand.covers(fit.right)
        assert fit.result.covers(held)
        poisoned = np.full(length, POISON)
        poisoned[fit.right.start : fit.right.stop] = data[fit.right.start : fit.right.stop]
        tile = run(fit.window, poisoned[fit.operand.start : fit.operand.stop])
        assert len(tile) == len(fit.result)
        inner = slice(wanted.start - fit.result.start, wanted.stop - fit.result.start)
        assert np.array_equal(tile[inner], whole[wanted.start : wanted.stop])
        if Padding.SAME in allowed and Padding.VALID not in allowed:
            assert fit.window == same(window.size, window.stride, window.dilation, len(fit.operand))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_the_whole_operand_is_always_a_fit_or_padding_forbids_it(
    case: tuple[Window, int, Rows, Rows, tuple[Padding, ...]],
) -> None:
    window, length, wanted, _, allowed = case
    assume(window.before < window.reach and window.after < window.reach)
    everything = Rows(0, window.results(length))
    found = fits(window, length, wanted, wanted, allowed, most=100)
    if window == same(window.size, window.stride, window.dilation, length):
        assert Padding.SAME not in allowed or found
    if allowed == (Padding.ANY,):
        assert len(found) == 1
    assert everything.covers(wanted)


def test_even_tiles_of_a_strided_op_waste_one_row() -> None:
    """A window of 3, stride 2: rows [4, 9) are read, an even number is needed to pad below."""
    window = Window(3, 2, 1, 0, 1)
    best = fits(window, 16, Rows(2, 4), Rows(2, 4), (Padding.SAME,))[0]
    assert best.right == Rows(4, 9)
    assert best.operand == Rows(4, 10)
    assert best.result == Rows(2, 5)


def test_a_window_of_one_needs_no_more_than_is_wanted() -> None:
    found = fits(Window(1), 16, Rows(3, 5), Rows(2, 6), (Padding.VALID, Padding.SAME))
    assert found[0].operand == Rows(2, 6)
    assert found[0].right == Rows(3, 5)


def test_paddings_follow_from_the_other_axes() -> None:
    threes = {1: Window(3, 1, 1, 1, 1), 2: Window(3, 1, 1, 1, 1)}
    assert paddings(threes, (1, 8, 8, 4), 1, free=False) == (Padding.SAME,)
    ones = {1: Window(1), 2: Window(1)}
    assert paddings(ones, (1, 8, 8, 4), 1, free=False) == (Padding.VALID, Padding.SAME)
    odd = {1: Window(3, 1, 1, 1, 1), 2: Window(3, 1, 1, 2, 0)}
    assert paddings(odd, (1, 8, 8, 4), 1, free=False) == ()
    assert paddings(odd, (1, 8, 8, 4), 1, free=True) == (Padding.ANY,)
