"""Calls step by step, with answers, lost connections and a clock that a test gives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from service.client import calls
from service.client.calls import Outcome, Pause, Send, Steps
from service.errors import RefusedError, ServiceError, UnreachableError
from service.schema import StudyState
from tests.service.fakes import study_spec

REQUEST = httpx2.Request("GET", "http://service/api/v1/x")
GET, POST = Send("GET", "/x"), Send("POST", "/x", repeatable=False)


def answer(status: int = 200, document: Any = None, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, content=json.dumps(document), headers=headers, request=REQUEST)


def study(state: StudyState) -> httpx2.Response:
    return answer(
        document={
            "study_id": "s",
            "name": "toy",
            "state": state,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
            "n_trials": dict.fromkeys(("waiting", "running", "completed", "failed", "stopped"), 0),
            "spec": study_spec().model_dump(mode="json"),
        }
    )


LOST = httpx2.ReadError("reset", request=REQUEST)
NOBODY = httpx2.ConnectError("[Errno 111] refused", request=REQUEST)
LATE = httpx2.ReadTimeout("timed out", request=REQUEST)
BUSY = answer(503, {"detail": "the store is busy"}, **{"Retry-After": "5"})


class Driver:
    """Takes the steps of a call: outcomes come in order, and pauses pass on the clock."""

    def __init__(self, outcomes: Iterable[Outcome]) -> None:
        self.outcomes = list(outcomes)
        self.n_sent, self.now = 0, 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, steps: Steps[Any]) -> Any:
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Pause):
                self.now += step.seconds
                outcome = None
            else:
                self.n_sent += 1
                outcome = self.outcomes.pop(0)


@pytest.mark.parametrize(
    ("outcomes", "seconds"),
    [([], 0), ([LOST], 0.2), ([LOST, NOBODY, LOST], 4.2), ([BUSY], 5), ([answer(429)], 0.2), ([BUSY, LOST], 6)],
)
def test_what_may_be_sent_twice_is_sent_again_after_a_pause(outcomes: list[Outcome], seconds: float) -> None:
    good = answer()
    driver = Driver([*outcomes, good])
    assert driver.run(calls.exchange(GET)) is good
    assert driver.now == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("outcomes", "error", "said"),
    [
        ([NOBODY], UnreachableError, "no service answers at http://service:80 (refused)"),
        ([LATE], UnreachableError, "no service answers at http://service:80 (timed out)"),
        ([LOST] * 4, UnreachableError, "no service answers at http://service:80 (reset)"),
        ([BUSY] * 4, UnreachableError, "the service answers 503: the store is busy"),
        ([answer(429, {"detail": "too many"})] * 4, RefusedError, "too many"),
        ([answer(500)], UnreachableError, "the service answers 500: http://service/api/v1/x answers 500"),
    ],
)
def test_what_does_not_help_is_not_tried_for_ever(
    outcomes: list[Outcome], error: type[ServiceError], said: str
) -> None:
    driver = Driver(outcomes)
    with pytest.raises(error) as found:
        driver.run(calls.exchange(GET))
    assert str(found.value).startswith(said) and driver.outcomes == []


@pytest.mark.parametrize("outcome", [LOST, BUSY])
def test_what_must_not_happen_twice_is_sent_once(outcome: Outcome) -> None:
    driver = Driver([outcome])
    with pytest.raises(UnreachableError):
        driver.run(calls.exchange(POST))
    assert driver.n_sent == 1


def test_the_key_of_a_submission_stays_the_same_however_often_it_is_sent() -> None:
    steps = calls.submit("digits", {})
    first = steps.send(None)
    assert isinstance(steps.send(LOST), Pause)
    again = steps.send(None)
    assert isinstance(first, Send) and again == first and len(first.headers["Idempotency-Key"]) == 32
    other = calls.submit("digits", {}).send(None)
    assert isinstance(other, Send) and other.headers != first.headers


def test_waiting_outlives_a_service_that_starts_again() -> None:
    outage = [NOBODY] * 50
    driver = Driver([study(StudyState.RUNNING), *outage, study(StudyState.COMPLETED)])
    assert driver.run(calls.wait("s", False, None, driver)) is StudyState.COMPLETED
    assert driver.now == pytest.approx(51)


def test_waiting_gives_up_a_service_that_is_gone_for_a_minute() -> None:
    driver = Driver([study(StudyState.RUNNING), *[NOBODY] * 100])
    with pytest.raises(UnreachableError):
        driver.run(calls.wait("s", False, None, driver))
    assert 60 < driver.now <= 62


def test_waiting_for_a_service_that_was_never_there_ends_at_once() -> None:
    driver = Driver([NOBODY])
    with pytest.raises(UnreachableError):
        driver.run(calls.wait("s", False, None, driver))
    assert driver.now == 0


def test_waiting_no_longer_than_asked_for_gives_the_state_of_then() -> None:
    driver = Driver([study(StudyState.PAUSED)] * 4)
    assert driver.run(calls.wait("s", False, 3.0, driver)) is StudyState.PAUSED
    assert driver.now == 3
