"""Asking the optimizer: what comes at once comes together."""

from __future__ import annotations

from typing import cast

import pytest

from service.asking import Asked, Asker
from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion, Told


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Deliberate:
    """An optimizer that takes `seconds` for each of its `n` suggestions, and fails at number `fails_at`."""

    def __init__(self, clock: Clock, seconds: float, n: int = 100, fails_at: int | None = None) -> None:
        self._clock, self._seconds, self._n, self._fails_at = clock, seconds, n, fails_at
        self.said: list[str] = []

    def tell(self, trial_id: str, _objectives: object, **_more: object) -> None:
        self.said.append(f"told {trial_id}")

    def ask(self) -> Suggestion | None:
        number = sum(not entry.startswith("told") for entry in self.said)
        if number == self._fails_at:
            raise RuntimeError("no idea")
        if number == self._n:
            return None
        self._clock.now += self._seconds
        self.said.append(str(number))
        return Suggestion(str(number), {}, 1.0, None)

    def snapshot(self) -> bytes:
        return f"behind {self.said[-1]}".encode()


def asked(optimizer: Deliberate, clock: Clock, n_wanted: int) -> tuple[Asker, Asked]:
    asker = Asker(lambda: cast(Optimizer, optimizer), lambda _: None, clock)
    return asker, asker.answer([Told("a", {"error": 0.5}), Told("b", None, "diverged")], None, n_wanted)


def test_quick_suggestions_come_together_behind_what_was_told() -> None:
    clock = Clock()
    optimizer = Deliberate(clock, 0.001)
    asker, answer = asked(optimizer, clock, 4)
    assert [s.trial_id for s in asker.take(answer)] == ["0", "1", "2", "3"]
    assert optimizer.said == ["told a", "told b", "0", "1", "2", "3"]
    assert (answer.snapshot, answer.was_fresh, answer.seconds) == (b"behind 3", True, pytest.approx(0.004))


def test_a_slow_suggestion_comes_alone_and_at_once() -> None:
    clock = Clock()
    asker, answer = asked(Deliberate(clock, 0.4), clock, 4)
    assert [s.trial_id for s in asker.take(answer)] == ["0"]
    assert clock.now == 0.4


def test_an_optimizer_with_nothing_left_gives_what_it_had() -> None:
    clock = Clock()
    optimizer = Deliberate(clock, 0.001, n=2)
    asker, answer = asked(optimizer, clock, 4)
    assert [s.trial_id for s in asker.take(answer)] == ["0", "1"]
    assert asker.take(asker.answer([], None, 4)) == []


def test_a_failure_among_suggestions_leaves_none_of_them_and_no_optimizer() -> None:
    clock = Clock()
    asker, answer = asked(Deliberate(clock, 0.001, fails_at=2), clock, 4)
    assert (answer.suggestions, answer.snapshot) == ([], None)
    assert asker.needs_log
    with pytest.raises(ServiceError, match="the optimizer failed: RuntimeError: no idea"):
        asker.take(answer)
