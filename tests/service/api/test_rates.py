from __future__ import annotations

from service.api.rates import Rates


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_as_many_as_come_in() -> None:
    clock = Clock()
    rates = Rates(per_second=2, burst=3, clock=clock)
    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now = 0.5
    assert [rates.take("a") for _ in range(2)] == [0, 0.5]


def test_a_bucket_holds_no_more_than_a_burst() -> None:
    clock = Clock()
    rates = Rates(per_second=1, burst=2, clock=clock)
    clock.now = 1e6
    assert [rates.take("a") for _ in range(3)] == [0, 0, 1]


def test_being_refused_costs_nothing() -> None:
    clock = Clock()
    rates = Rates(per_second=1, burst=1, clock=clock)
    rates.take("a")
    clock.now = 0.75
    assert [rates.take("a") for _ in range(9)] == [0.25] * 9


def test_callers_of_longest_ago_are_forgotten() -> None:
    rates = Rates(per_second=1e-9, burst=1, clock=Clock())
    rates.take("first")
    for number in range(10_000):
        rates.take(str(number))
    assert rates.take("first") == 0
    assert rates.take("9999") > 0
