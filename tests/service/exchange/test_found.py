from __future__ import annotations

from service.exchange.found import Found, best


def of(*costs: tuple[float, ...]) -> list[Found]:
    return [Found({"costs": cost}, cost) for cost in costs]


def chosen(found: list[Found], most: int) -> list[tuple[float, ...]]:
    return [each.costs for each in best(found, most)]


def test_the_front_comes_first_and_then_what_is_behind_it() -> None:
    found = of((3.0, 3.0), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0))
    assert chosen(found, 3) == [(1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]


def test_a_front_is_whole_however_large() -> None:
    assert chosen(of((1.0, 3.0), (2.0, 2.0), (3.0, 1.0), (9.0, 9.0)), 1) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]


def test_of_one_cost_the_lowest_are_the_best() -> None:
    assert chosen(of((3.0,), (1.0,), (2.0,)), 2) == [(1.0,), (2.0,)]


def test_a_layer_that_is_too_much_is_cut() -> None:
    assert chosen(of((0.0, 0.0), (1.0, 3.0), (2.0, 2.0), (3.0, 1.0)), 3) == [(0.0, 0.0), (1.0, 3.0), (2.0, 2.0)]


def test_of_nothing_nothing_is_chosen() -> None:
    assert best([], 5) == []
