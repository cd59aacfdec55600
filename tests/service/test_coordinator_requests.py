from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.dispatch import Done, OnEpoch
from service.errors import ServiceError
from service.schema import StudyState, TrialState
from service.store import Store
from service.store.log import RequestKind
from tests.service.fakes import (
    FakeDispatcher,
    evaluate,
    failed,
)
from tests.service.running import assert_complete, by_id, coordinator_of, in_background, new_study, raise_budget
from worker.schema import EpochMetrics, TrialResult, TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


def test_a_trial_that_somebody_cancels_is_stopped_and_the_study_goes_on(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 8})
    dispatcher = FakeDispatcher(1, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def cancel_the_second() -> None:
        for n in range(1, 9):
            dispatcher.wait_for_submitted(n)
            if n == 2:
                store.request(study.study_id, "cancel", dispatcher.held()[0])
                coordinator.wake()
            else:
                dispatcher.release()

    assert in_background(coordinator, cancel_the_second) is StudyState.COMPLETED
    assert Counter(t.state for t in store.trials(study.study_id)) == {TrialState.COMPLETED: 7, TrialState.STOPPED: 1}
    failures = [e.payload["failure"] for e in store.events(study.study_id) if e.kind == "trial_told"]
    assert failures.count("cancelled") == 1


def test_a_trial_that_waits_is_cancelled_and_never_begins(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 4})
    dispatcher = FakeDispatcher(1, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def cancel_the_next() -> None:
        dispatcher.wait_for_submitted(1)
        while not (waiting := store.trials(study.study_id, TrialState.WAITING)):
            pass
        store.request(study.study_id, "cancel", waiting[0].trial_id)
        coordinator.wake()
        while not store.trials(study.study_id, TrialState.STOPPED):
            pass
        for n in range(1, 4):
            dispatcher.wait_for_submitted(n)
            dispatcher.release()

    assert in_background(coordinator, cancel_the_next) is StudyState.COMPLETED
    (stopped,) = store.trials(study.study_id, TrialState.STOPPED)
    assert stopped.attempt == 0
    assert stopped.trial_id not in {spec.trial_id for spec in dispatcher.submitted}


def test_a_paused_study_frees_its_slots_and_begins_nothing_until_it_is_resumed(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 5})
    dispatcher = FakeDispatcher(2, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def pause_and_resume() -> None:
        dispatcher.wait_for_submitted(2)
        store.request(study.study_id, "pause")
        coordinator.wake()
        while store.study(study.study_id).state is not StudyState.PAUSED or dispatcher.held():
            pass
        coordinator.wake()
        n_submitted = len(dispatcher.submitted)
        while store.n_trials(study.study_id)["running"]:
            pass
        assert len(dispatcher.submitted) == n_submitted
        store.request(study.study_id, "resume")
        coordinator.wake()
        for n in range(1, 6):
            dispatcher.wait_for_submitted(n_submitted + n)
            dispatcher.release()

    assert in_background(coordinator, pause_and_resume) is StudyState.COMPLETED
    assert {t.state for t in store.trials(study.study_id)} == {TrialState.COMPLETED}
    kinds = [e.kind for e in store.events(study.study_id) if e.kind.startswith("study_")]
    assert kinds == ["study_created", "study_running", "study_paused", "study_running", "study_completed"]
    reasons = [e.payload["reason"] for e in store.events(study.study_id) if e.kind in ("study_paused", "study_running")]
    assert reasons == ["", "by the user", "resumed"]


def test_a_study_stays_paused_over_a_restart_and_can_be_stopped(store: Store) -> None:
    study = new_study(store)
    store.set_study_state(study.study_id, StudyState.PAUSED)
    dispatcher = FakeDispatcher()
    coordinator = coordinator_of(study, store, dispatcher)

    def stop() -> None:
        while not store.trials(study.study_id):
            pass
        store.request(study.study_id, "stop")
        coordinator.wake()

    assert in_background(coordinator, stop) is StudyState.STOPPED
    assert dispatcher.submitted == []


def test_a_failed_trial_is_tried_again_on_request_and_told_to_the_optimizer_once(store: Store) -> None:
    def first_time_fails(spec: TrialSpec) -> TrialResult:
        if spec.trial_id == "00001" and spec.attempt == 1:
            return failed(spec.trial_id, spec.attempt, study_id=spec.study_id)
        return evaluate(spec)

    study = new_study(store, optimizer="greenshift", budget={"n_trials": 6})
    coordinator_of(study, store, FakeDispatcher(1, first_time_fails)).run()
    assert by_id(store, study)["00001"].state is TrialState.FAILED
    store.request(study.study_id, "retry", "00001")
    store.request(study.study_id, "retry", "00002")
    assert coordinator_of(study, store, FakeDispatcher(1, first_time_fails)).run() is StudyState.COMPLETED
    assert (by_id(store, study)["00001"].state, by_id(store, study)["00001"].attempt) == (TrialState.COMPLETED, 2)
    told = [e for e in store.events(study.study_id) if e.kind == "trial_told" and e.trial_id == "00001"]
    assert [e.payload["failure"] for e in told] == ["diverged"]
    answers = [e.payload["outcome"] for e in store.events(study.study_id) if e.kind == "request_answered"]
    assert answers == ["done", "the trial is COMPLETED; only FAILED and STOPPED ones are tried again"]
    # The log still replays: it says what was told, not what came of the trial later.
    raise_budget(store, study, {"n_trials": 8})
    coordinator_of(study, store, FakeDispatcher(1)).run()
    assert_complete(store, study, 8)


def test_a_coordinator_that_leaves_is_followed_by_one_that_adopts_its_trials(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 5})
    dispatcher = FakeDispatcher(2, holds=True)
    first = coordinator_of(study, store, dispatcher)

    def leave() -> None:
        dispatcher.wait_for_submitted(2)
        first.leave()

    assert in_background(first, leave) is StudyState.RUNNING
    assert store.n_trials(study.study_id)["running"] == 2

    def release_all() -> None:
        while len(dispatcher.adopted) < 2:
            pass
        for n in range(5):
            dispatcher.wait_for_submitted(min(5, n + 1))
            while not dispatcher.held():
                pass
            dispatcher.release()

    second = coordinator_of(study, store, dispatcher)
    assert in_background(second, release_all) is StudyState.COMPLETED
    assert_complete(store, study, 5)
    assert {t.attempt for t in store.trials(study.study_id)} == {1}


class AskedWhenFree(FakeDispatcher):
    """Has no slot for a study that begins anew until its workers, which run its trials, have been asked."""

    def n_slots(self) -> int:
        return 0 if self.adopted and self.held() else super().n_slots()


def test_workers_that_run_adopted_trials_are_not_said_to_be_missing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    study = new_study(store, budget={"n_trials": 2})
    dispatcher = AskedWhenFree(1, holds=True)
    first = coordinator_of(study, store, dispatcher)

    def leave() -> None:
        dispatcher.wait_for_submitted(1)
        first.leave()

    in_background(first, leave)

    looked = threading.Event()
    second = coordinator_of(study, store, dispatcher, on_change=looked.set)

    def release_all() -> None:
        assert looked.wait(timeout=120)
        dispatcher.release()
        dispatcher.wait_for_submitted(2)
        dispatcher.release()

    assert in_background(second, release_all) is StudyState.COMPLETED
    # The supervisor of another test's service may still be trying to reach its scheduler.
    assert [record.getMessage() for record in caplog.records if record.name != "service.supervisor"] == []


def test_epochs_are_recorded_as_they_come(store: Store) -> None:
    class TellingDispatcher(FakeDispatcher):
        """Tells of two epochs of each trial."""

        def submit(self, spec: TrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
            names = {"study_id": spec.study_id, "trial_id": spec.trial_id, "attempt": spec.attempt}
            for epoch in (1, 2):
                on_epoch(EpochMetrics(**names, epoch=epoch, training_loss=1 / epoch, seconds=0.1))
            super().submit(spec, done, on_epoch)

    study = new_study(store, budget={"n_trials": 3})
    coordinator_of(study, store, TellingDispatcher()).run()
    for trial in store.trials(study.study_id):
        assert [(m.epoch, m.training_loss) for m in store.epochs(study.study_id, trial.trial_id)] == [
            (1, 1.0),
            (2, 0.5),
        ]


class LateStore(Store):
    """Somebody asks for something between a coordinator's last look and the end of its study."""

    late: Callable[[], object] | None = None

    def end_study(self, study_id: str, state: StudyState, reason: str, answered: int) -> StudyState:
        late, self.late = self.late, None
        if late is not None:
            late()
        return super().end_study(study_id, state, reason, answered)


@pytest.fixture
def late_store(tmp_path: Path) -> Iterator[LateStore]:
    with LateStore(tmp_path / "late.sqlite") as store:
        yield store


def first_time_fails(spec: TrialSpec) -> TrialResult:
    if spec.trial_id == "00001" and spec.attempt == 1:
        return failed(spec.trial_id, spec.attempt, study_id=spec.study_id)
    return evaluate(spec)


def test_a_retry_that_is_asked_for_just_before_the_end_is_done_by_the_next_coordinator(late_store: LateStore) -> None:
    study = new_study(late_store, budget={"n_trials": 4})
    late_store.late = lambda: late_store.request(study.study_id, "retry", "00001")
    assert coordinator_of(study, late_store, FakeDispatcher(1, first_time_fails)).run() is StudyState.WAITING
    assert late_store.study(study.study_id).state is StudyState.WAITING
    assert coordinator_of(study, late_store, FakeDispatcher(1, first_time_fails)).run() is StudyState.COMPLETED
    assert_complete(late_store, study, 4)
    answers = [e.payload["outcome"] for e in late_store.events(study.study_id) if e.kind == "request_answered"]
    assert answers == ["done"]


def test_a_study_that_is_resumed_while_it_stops_goes_on(late_store: LateStore) -> None:
    study = new_study(late_store, budget={"n_trials": 4})
    late_store.late = lambda: late_store.request(study.study_id, "resume")
    stopped = coordinator_of(study, late_store)
    stopped.stop()
    assert stopped.run() is StudyState.WAITING
    assert coordinator_of(study, late_store).run() is StudyState.COMPLETED
    assert_complete(late_store, study, 4)


@pytest.mark.parametrize("kind", ["stop", "pause"])
def test_what_would_end_a_study_anyhow_leaves_it_at_its_end(late_store: LateStore, kind: RequestKind) -> None:
    study = new_study(late_store, budget={"n_trials": 4})
    late_store.late = lambda: late_store.request(study.study_id, kind)
    assert coordinator_of(study, late_store).run() is StudyState.COMPLETED


def test_a_study_that_fails_before_it_heeds_a_request_is_not_started_by_it_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(store)
    store.request(study.study_id, "resume")
    coordinator = coordinator_of(study, store)
    monkeypatch.setattr(coordinator, "_recover", lambda: 1 / 0)
    with pytest.raises(ServiceError, match="ZeroDivisionError"):
        coordinator.run()
    assert store.study(study.study_id).state is StudyState.FAILED
