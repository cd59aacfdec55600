"""Trials whose workers are told to end: what the coordinator lets the next attempt go on from, and how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.budget import Spent
from service.compared import DEFAULT_TRIAL_ID
from service.dispatch import lost
from service.ledger import Ledger
from service.schema import Study, StudyState, TrialState
from service.store import Store
from tests.service.fakes import FakeDispatcher, completed, energy_report, failed
from tests.service.processes import wait_until
from tests.service.running import by_id, coordinator_of, in_background, new_study
from worker.schema import Leg, TrialResult, TrialSpec

Attempt = Callable[[TrialSpec], TrialResult]
LEG = Leg(trial_id=DEFAULT_TRIAL_ID, epochs=1, joules=7.0, emissions_grams=0.7, method="codecarbon", device="fake")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    return alone(store)


def alone(store: Store, **changes: Any) -> Study:
    """A study of one trial."""
    return new_study(store, budget={"n_trials": 1}, **changes)


def left(spec: TrialSpec) -> TrialResult:
    """A worker that was told to end leaves the training where it was asked to."""
    place = Path(str(spec.rescue_to)) / f"{spec.attempt}.pt"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    update = {"rescued": spec.attempt, "energy": energy_report(7.0, 0.7)}
    return lost(spec, "told to end").model_copy(update=update)


def killed(spec: TrialSpec) -> TrialResult:
    return lost(spec, "killed")


def done(spec: TrialSpec) -> TrialResult:
    return completed(spec.trial_id, spec.attempt, study_id=spec.study_id, error=0.1, deployment_energy=1.0)


def went_on(spec: TrialSpec) -> TrialResult:
    return done(spec).model_copy(update={"earlier_legs": (LEG,), "seconds_before": 3.0})


def diverged(spec: TrialSpec) -> TrialResult:
    update = {"rescued": spec.rescued}
    return failed(spec.trial_id, spec.attempt, study_id=spec.study_id).model_copy(update=update)


def script(*attempts: Attempt) -> FakeDispatcher:
    """A dispatcher whose attempts at the one trial end like this, one after the other."""
    return FakeDispatcher(1, lambda spec: attempts[spec.attempt - 1](spec))


def test_the_next_attempt_is_told_what_was_left_last_and_nothing_is_left_behind(
    store: Store, study: Study, tmp_path: Path
) -> None:
    dispatcher = script(left, killed, left, done)
    assert coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path)).run() is StudyState.COMPLETED
    assert [spec.rescued for spec in dispatcher.submitted] == [None, 1, 1, 3]
    folder = f"{tmp_path}/{study.study_id}/{DEFAULT_TRIAL_ID}.rescued"
    assert {spec.rescue_to for spec in dispatcher.submitted} == {folder}
    assert not Path(folder).parent.exists()
    (trial,) = store.trials(study.study_id)
    assert trial.result is not None
    assert trial.result.rescued is None


def test_what_was_left_is_gone_when_its_trial_is_done_and_not_only_at_the_end(store: Store, tmp_path: Path) -> None:
    study = new_study(store, budget={"n_trials": 2})
    there: list[bool] = []

    def attempt(spec: TrialSpec) -> TrialResult:
        folder = Path(str(spec.rescue_to)).with_name(f"{DEFAULT_TRIAL_ID}.rescued")
        there.append(folder.exists())
        return left(spec) if spec.attempt == 1 and spec.trial_id == DEFAULT_TRIAL_ID else done(spec)

    coordinator_of(study, store, FakeDispatcher(1, attempt), checkpoints=str(tmp_path)).run()
    assert there == [False, True, False]


def test_a_trial_that_gets_further_may_lose_any_number_of_workers(store: Store, tmp_path: Path) -> None:
    study = alone(store, max_lost_workers=0)
    coordinator_of(study, store, script(left, left, left, done), checkpoints=str(tmp_path)).run()
    assert [t.state for t in store.trials(study.study_id)] == [TrialState.COMPLETED]


def test_what_an_earlier_attempt_left_excuses_no_lost_worker(store: Store, tmp_path: Path) -> None:
    study = alone(store, max_lost_workers=1)
    coordinator_of(study, store, script(left, killed, killed), checkpoints=str(tmp_path)).run()
    assert [t.state for t in store.trials(study.study_id)] == [TrialState.FAILED]


@pytest.mark.parametrize("end", [diverged, killed])
def test_a_trial_that_failed_begins_anew_when_it_is_retried(store: Store, tmp_path: Path, end: Attempt) -> None:
    study = alone(store, max_lost_workers=0)
    dispatcher = script(left, end, done)
    coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path)).run()
    assert not (tmp_path / study.study_id / f"{DEFAULT_TRIAL_ID}.rescued").exists()
    store.retry_trial(by_id(store, study)[DEFAULT_TRIAL_ID], "asked for")
    coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path)).run()
    assert [spec.rescued for spec in dispatcher.submitted] == [None, 1, None]


def test_a_coordinator_that_starts_again_goes_on_from_what_was_left(store: Store, study: Study, tmp_path: Path) -> None:
    first = FakeDispatcher(1, left, holds=True)
    coordinator = coordinator_of(study, store, first, checkpoints=str(tmp_path))

    def end() -> None:
        first.wait_for_submitted(1)
        first.release()
        first.wait_for_submitted(2)
        coordinator.leave()

    in_background(coordinator, end)
    # The second attempt went with its cluster.
    second = FakeDispatcher(1, done)
    coordinator_of(study, store, second, checkpoints=str(tmp_path)).run()
    assert [(spec.attempt, spec.rescued) for spec in (*first.submitted, *second.submitted)] == [
        (1, None),
        (2, 1),
        (3, 1),
    ]


def test_every_joule_is_in_the_ledger_once_and_seconds_are_those_of_the_whole_trial(
    store: Store, study: Study, tmp_path: Path
) -> None:
    coordinator_of(study, store, script(left, went_on), checkpoints=str(tmp_path)).run()
    events = list(store.events(study.study_id))
    ledger = Ledger.from_events(events)
    assert [(e.cause, e.joules, e.n_unknown) for e in ledger.entries] == [("completed", 5.0, 0), ("retried", 7.0, 0)]
    assert Spent.from_events(events).energy_joules == ledger.joules == 12.0
    (trial,) = store.trials(study.study_id)
    assert trial.result is not None
    assert (trial.result.duration_seconds, trial.result.seconds) == (2.0, 5.0)


def test_without_a_place_for_it_nothing_is_asked_for(store: Store, study: Study) -> None:
    dispatcher = script(killed, done)
    coordinator_of(study, store, dispatcher).run()
    assert [(spec.rescue_to, spec.rescued) for spec in dispatcher.submitted] == [(None, None)] * 2


def cut_while_it_wrote(spec: TrialSpec) -> TrialResult:
    """A trial that ran too long, and was killed before it could say what it leaves."""
    left(spec)
    return failed(spec.trial_id, spec.attempt, "time_limit", study_id=spec.study_id)


def test_what_a_trial_left_that_failed_is_gone_although_it_did_not_say_so(
    store: Store, study: Study, tmp_path: Path
) -> None:
    coordinator_of(study, store, script(cut_while_it_wrote), checkpoints=str(tmp_path)).run()
    assert [t.state for t in store.trials(study.study_id)] == [TrialState.FAILED]
    assert not (tmp_path / study.study_id / f"{DEFAULT_TRIAL_ID}.rescued").exists()


def test_nothing_is_left_of_a_trial_that_still_waits_when_the_budget_is_spent(store: Store, tmp_path: Path) -> None:
    study = new_study(store, budget={"energy_joules": 11.0})
    dispatcher = FakeDispatcher(1, lambda spec: left(spec) if spec.trial_id == "00002" else done(spec))
    coordinator = coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path))
    assert coordinator.run() is StudyState.COMPLETED
    waiting = by_id(store, study)["00002"]
    assert (waiting.state, waiting.attempt) == (TrialState.WAITING, 1)
    assert not (tmp_path / study.study_id).exists()


class Leaving(FakeDispatcher):
    """Trials that it cancels leave their training."""

    def cancel(self, trial_id: str) -> None:
        for spec, finish in [held for held in self._held if held[0].trial_id == trial_id]:
            self._held.remove((spec, finish))
            result = failed(spec.trial_id, spec.attempt, "cancelled", study_id=spec.study_id)
            finish(result.model_copy(update={"rescued": left(spec).rescued}))


def test_a_trial_that_is_cancelled_while_it_waits_leaves_nothing(store: Store, study: Study, tmp_path: Path) -> None:
    dispatcher = Leaving(1, done, holds=True)
    coordinator = coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path))
    folder = tmp_path / study.study_id / f"{DEFAULT_TRIAL_ID}.rescued"
    there: list[bool] = []

    def cancel_and_retry() -> None:
        dispatcher.wait_for_submitted(1)
        for kind, state in (("pause", TrialState.WAITING), ("cancel", TrialState.STOPPED)):
            store.request(study.study_id, kind, DEFAULT_TRIAL_ID if kind == "cancel" else None)
            coordinator.wake()
            wait_until(lambda state=state: by_id(store, study)[DEFAULT_TRIAL_ID].state is state)
            wait_until(lambda kind=kind: answered(store, study, kind))
            there.append(folder.exists())
        coordinator.stop()

    in_background(coordinator, cancel_and_retry)
    assert there == [True, False]


def test_a_trial_that_was_cancelled_and_retried_is_wanted_again(store: Store, tmp_path: Path) -> None:
    study = new_study(store, budget={"n_trials": 2})
    dispatcher = Leaving(2, done, holds=True)
    coordinator = coordinator_of(study, store, dispatcher, checkpoints=str(tmp_path))

    def cancel_and_retry() -> None:
        dispatcher.wait_for_submitted(2)
        for kind, state in (("cancel", TrialState.STOPPED), ("retry", TrialState.RUNNING)):
            store.request(study.study_id, kind, DEFAULT_TRIAL_ID)
            coordinator.wake()
            wait_until(lambda state=state: by_id(store, study)[DEFAULT_TRIAL_ID].state is state)
        coordinator.stop()

    in_background(coordinator, cancel_and_retry)
    assert [spec.rescued for spec in dispatcher.submitted] == [None] * 3
    assert by_id(store, study)[DEFAULT_TRIAL_ID].state is TrialState.WAITING


def answered(store: Store, study: Study, kind: str) -> bool:
    """Whether the coordinator has done what was asked for."""
    events = list(store.events(study.study_id))
    asked = {event.seq for event in events if event.kind == f"{kind}_requested"}
    return asked <= {event.payload["request"] for event in events if event.kind == "request_answered"}
