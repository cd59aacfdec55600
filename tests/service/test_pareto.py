from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import pareto

# Few values, so that duplicates and ties are common.
ROWS = st.lists(st.tuples(*[st.integers(0, 4)] * 2), min_size=1, max_size=12)
ROWS_OF_THREE = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=10)
REFERENCE = np.array([5.0, 5.0])


def array(rows: list[tuple[int, ...]]) -> pareto.Costs:
    return np.array(rows, dtype=float)


def brute_force_front(costs: pareto.Costs) -> list[bool]:
    return [not any(pareto.dominates(other, row) for other in costs) for row in costs]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [([1, 1], [2, 1], True), ([1, 1], [1, 1], False), ([1, 3], [2, 1], False), ([2, 1], [1, 1], False)],
)
def test_a_row_dominates_where_it_is_nowhere_worse_and_somewhere_better(
    a: list[int], b: list[int], expected: bool
) -> None:
    assert pareto.dominates(np.array(a, float), np.array(b, float)) is expected


@given(st.one_of(ROWS, ROWS_OF_THREE))
def test_the_front_is_the_brute_force_front(rows: list[tuple[int, ...]]) -> None:
    assert pareto.front(array(rows)).tolist() == brute_force_front(array(rows))


def test_equal_rows_are_all_on_the_front() -> None:
    assert pareto.front(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]])).tolist() == [True, True, False]


def test_nothing_has_an_empty_front_and_no_volume() -> None:
    nothing = np.zeros((0, 2))
    assert pareto.front(nothing).tolist() == []
    assert pareto.hypervolume(nothing, REFERENCE) == 0.0


def test_the_hypervolume_of_one_point_is_a_rectangle() -> None:
    assert pareto.hypervolume(np.array([[1.0, 2.0]]), REFERENCE) == (5 - 1) * (5 - 2)


def test_the_hypervolume_of_two_points_is_the_union_of_two_rectangles() -> None:
    points = np.array([[1.0, 3.0], [2.0, 1.0]])
    assert pareto.hypervolume(points, REFERENCE) == 4 * 2 + 3 * 4 - 3 * 2


def test_a_point_on_or_beyond_the_reference_adds_nothing() -> None:
    assert pareto.hypervolume(np.array([[5.0, 0.0], [6.0, 0.0]]), REFERENCE) == 0.0


@given(st.permutations([(0, 4), (1, 2), (1, 2), (3, 1), (4, 4)]))
def test_order_changes_neither_front_nor_volume(rows: list[tuple[int, int]]) -> None:
    costs = array(rows)
    assert sorted(map(tuple, costs[pareto.front(costs)])) == [(0, 4), (1, 2), (1, 2), (3, 1)]
    assert pareto.hypervolume(costs, REFERENCE) == 5 * 1 + 4 * 2 + 2 * 1


@given(ROWS, st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_one_more_point_never_lowers_the_volume(rows: list[tuple[int, int]], point: tuple[int, int]) -> None:
    before = pareto.hypervolume(array(rows), REFERENCE)
    assert pareto.hypervolume(array([*rows, point]), REFERENCE) >= before


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1, max_size=10))
def test_the_reference_point_is_worse_than_every_row(rows: list[tuple[float, float]]) -> None:
    costs = np.array(rows)
    assert (costs < pareto.reference_point(costs)).all()


def test_the_reference_point_lies_a_tenth_of_the_range_beyond_the_worst() -> None:
    assert pareto.reference_point(np.array([[0.0, 10.0], [10.0, 30.0]])).tolist() == [11.0, 32.0]


@pytest.mark.parametrize("value", [3e-7, 2.0, 5e4])
def test_one_value_alone_has_its_reference_a_tenth_of_itself_further_in_whatever_unit(value: float) -> None:
    assert pareto.reference_point(np.array([[value], [value]])) == pytest.approx([1.1 * value])
    assert pareto.reference_point(np.array([[-value]])) == pytest.approx([-0.9 * value])


def test_the_reference_point_beyond_nothing_but_zero_is_a_tenth() -> None:
    assert pareto.reference_point(np.array([[0.0, 0.0]])).tolist() == [0.1, 0.1]


def test_the_reference_point_is_worse_also_where_the_range_is_less_than_a_number_can_tell() -> None:
    best = 1e6
    costs = np.array([[np.nextafter(best, 2e6)], [best]])
    assert (costs < pareto.reference_point(costs)).all()
