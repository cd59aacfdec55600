from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.optimizer.promotion import pick_spread
from service.pareto import dominates, front

ROWS = st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=1, max_size=12)


@given(ROWS, st.data())
def test_no_row_is_picked_before_one_that_dominates_it(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    costs = np.array(rows, dtype=float)
    n = data.draw(st.integers(0, len(rows)))
    picked = pick_spread(costs, n)
    left = set(range(len(rows))) - set(picked)
    assert len(picked) == len(set(picked)) == n
    assert not any(dominates(costs[i], costs[j]) for i in left for j in picked)


@given(ROWS)
def test_all_rows_are_picked_where_there_is_room(rows: list[tuple[int, int]]) -> None:
    assert sorted(pick_spread(np.array(rows, dtype=float), len(rows))) == list(range(len(rows)))


@given(st.integers(3, 12), st.data())
def test_a_front_that_is_thinned_out_keeps_its_extremes(size: int, data: st.DataObject) -> None:
    costs = np.array([(i, size - i) for i in range(size)], dtype=float)
    n = data.draw(st.integers(2, size))
    assert {0, size - 1} <= set(pick_spread(costs, n))


def test_a_thinned_front_keeps_the_lonelier_rows() -> None:
    costs = np.array([[0, 10], [1, 9], [2, 8], [6, 4], [10, 0]], dtype=float)
    assert sorted(pick_spread(costs, 3)) == [0, 3, 4]


def test_a_whole_front_goes_before_the_extremes_of_the_next() -> None:
    best = [(5.0, 6.0), (6.0, 5.0)]
    next_best = [(5.0, 20.0), (7.0, 7.0), (20.0, 5.0)]
    costs = np.array([*next_best, *best])
    assert front(costs).tolist() == [False, False, False, True, True]
    assert set(pick_spread(costs, 3)) > {3, 4}
