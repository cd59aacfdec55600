from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.analysis.attempts import attempt_rows
from service.analysis.timeline import timeline
from service.findings import AttemptSpan, TimelineDocument, WorkerTime
from service.wire import Event
from tests.service.analysis.lines import at, finished, line, started
from tests.service.fakes import completed, failed
from worker.schema import TrialResult


def timeline_of(*log: Event) -> TimelineDocument:
    return timeline(attempt_rows(log), {"1": 3.0, "2": 9.0})


def by(worker: str, result: TrialResult) -> TrialResult:
    return result.model_copy(update={"worker": worker})


def span(trial_id: str, attempt: int, began: float, ended: float | None, state: Any, **changes: Any) -> AttemptSpan:
    fidelity = {"1": 3.0, "2": 9.0}.get(trial_id)
    values = {"worker": None, "failure": None, "fidelity": fidelity, "started": at(began)} | changes
    return AttemptSpan(
        trial_id=trial_id, attempt=attempt, ended=None if ended is None else at(ended), state=state, **values
    )


def test_attempts_stand_in_their_order_and_idle_time_between_those_of_a_worker() -> None:
    found = timeline_of(
        started(0, "1"),
        started(1, "2"),
        finished(10, by("a", completed("1", error=0.1))),
        finished(11, by("b", failed("2")), "FAILED"),
        started(14, "3"),
        line(15, "attempt_abandoned", "3", attempt=1, reason="a restart"),
        started(16, "3", attempt=2),
        finished(20, by("a", completed("3", 2, error=0.1))),
        started(21, "4"),
    )

    assert found.attempts == [
        span("1", 1, 0, 10, "COMPLETED", worker="a"),
        span("2", 1, 1, 11, "FAILED", worker="b", failure="diverged"),
        span("3", 1, 14, 15, "given back"),
        span("3", 2, 16, 20, "COMPLETED", worker="a"),
        span("4", 1, 21, None, "RUNNING"),
    ]
    assert found.workers == [
        WorkerTime(worker="a", busy_seconds=14.0, idle_seconds=6.0, n_attempts=2, n_failed=0),
        WorkerTime(worker="b", busy_seconds=10.0, idle_seconds=0.0, n_attempts=1, n_failed=1),
    ]
    assert found.idle_share == 6.0 / 30.0


def test_what_a_worker_runs_at_once_is_counted_once() -> None:
    found = timeline_of(
        started(0, "1"),
        started(2, "2"),
        started(3, "3"),
        finished(4, by("a", completed("3"))),
        finished(6, by("a", completed("1"))),
        finished(8, by("a", completed("2"))),
    )
    assert (found.workers[0].busy_seconds, found.idle_share) == (8.0, 0.0)


def test_a_result_that_comes_late_tells_where_its_attempt_was() -> None:
    found = timeline_of(
        started(0, "1"),
        line(2, "trial_stopped", "1", reason="cancel"),
        line(3, "late_result", "1", result=by("a", failed("1", kind="cancelled"))),
    )
    assert found.attempts == [span("1", 1, 0, 2, "STOPPED", worker="a")]


def test_without_an_answer_there_is_no_share() -> None:
    assert timeline_of(started(0, "1")).idle_share is None
    assert timeline_of() == TimelineDocument(attempts=[], idle_share=None, workers=[])


times = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=8)


@given(times)
def test_busy_seconds_are_those_that_any_attempt_covers(spans: list[tuple[int, int]]) -> None:
    log = []
    for number, (began, length) in enumerate(spans):
        log += [started(began, str(number)), finished(began + length, by("a", completed(str(number))))]
    covered = {second for began, length in spans for second in range(began, began + length)}
    (worker,) = timeline_of(*log).workers
    assert worker.busy_seconds == len(covered)
    assert worker.busy_seconds + worker.idle_seconds == pytest.approx(max(covered) + 1 - min(covered))
