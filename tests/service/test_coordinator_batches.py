from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.schema import StudyState, Trial, TrialState
from service.store import Store
from tests.service.fakes import FakeDispatcher, energy_report, evaluate, failed
from tests.service.running import assert_complete, by_id, coordinator_of, in_background, new_study
from worker.schema import TrialResult, TrialSpec


class CountingStore(Store):
    """Notes how many results and attempts each transaction has."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.finished: list[int] = []
        self.started: list[int] = []

    def finish_attempts(self, finished: Sequence[tuple[TrialResult, TrialState]]) -> list[Trial | None]:
        self.finished.append(len(finished))
        return super().finish_attempts(finished)

    def start_attempts(self, waiting: Sequence[Trial]) -> list[Trial]:
        self.started.append(len(waiting))
        return super().start_attempts(waiting)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    with CountingStore(tmp_path / "study.sqlite") as store:
        yield store


class FullDispatcher(FakeDispatcher):
    """Gives out all its results at once, when every slot is busy."""

    def __init__(self, n_slots: int) -> None:
        super().__init__(n_slots, holds=True)

    def look(self) -> None:
        if len(self.held()) == self.n_slots():
            for spec, done in self._held:
                self.give(spec, done)
            self._held.clear()

    def give(self, spec: TrialSpec, done: object) -> None:
        assert callable(done)
        done(evaluate(spec))


def test_results_that_wait_together_are_recorded_in_one_transaction(store: CountingStore) -> None:
    study, dispatcher = new_study(store, budget={"n_trials": 12}), FullDispatcher(4)
    coordinator_of(study, store, dispatcher, on_change=dispatcher.look).run()
    assert store.finished == [4, 4, 4]
    assert_complete(store, study, 12)


def test_attempts_that_can_start_together_do_so_in_one_transaction(store: CountingStore) -> None:
    study, dispatcher = new_study(store, budget={"n_trials": 12}), FakeDispatcher(4, holds=True)
    first = coordinator_of(study, store, dispatcher)

    def stop() -> None:
        dispatcher.wait_for_submitted(4)
        first.stop()

    assert in_background(first, stop) is StudyState.STOPPED
    assert store.n_trials(study.study_id)["waiting"] >= 4
    store.started.clear()
    coordinator_of(study, store, FakeDispatcher(4)).run()
    assert store.started[0] == 4
    assert_complete(store, study, 12)


def test_of_results_of_one_attempt_that_come_together_the_first_counts(store: CountingStore) -> None:
    class Stammering(FullDispatcher):
        """Gives every result twice, the second time as a failure."""

        def give(self, spec: TrialSpec, done: object) -> None:
            super().give(spec, done)
            assert callable(done)
            done(failed(spec.trial_id, spec.attempt, study_id=spec.study_id))

    study, dispatcher = new_study(store, budget={"n_trials": 8}), Stammering(4)
    coordinator_of(study, store, dispatcher, on_change=dispatcher.look).run()
    assert store.finished == [8, 8]
    assert [e.kind for e in store.events(study.study_id)].count("late_result") == 8
    assert_complete(store, study, 8)


def test_trials_of_one_batch_wait_again_or_are_finished_each_by_its_own_result(store: CountingStore) -> None:
    class Mixed(FullDispatcher):
        """Loses the first attempt at 00002, and 00003 fails."""

        def give(self, spec: TrialSpec, done: object) -> None:
            assert callable(done)
            kind = {"00002": "worker_lost", "00003": "diverged"}.get(spec.trial_id)
            if kind and spec.attempt == 1:
                done(failed(spec.trial_id, 1, kind, study_id=spec.study_id))
            else:
                super().give(spec, done)

    # Four at once, and then three new ones beside the second attempt.
    study, dispatcher = new_study(store, budget={"n_trials": 7}), Mixed(4)
    coordinator_of(study, store, dispatcher, on_change=dispatcher.look).run()
    trials = by_id(store, study)
    assert store.finished == [4, 4]
    assert {(t.state, t.attempt) for t in trials.values()} == {
        (TrialState.COMPLETED, 1),
        (TrialState.COMPLETED, 2),
        (TrialState.FAILED, 1),
    }
    assert (trials["00002"].attempt, trials["00003"].state) == (2, TrialState.FAILED)


def test_results_of_unknown_energy_that_come_at_the_end_do_not_keep_a_study_from_failing(store: CountingStore) -> None:
    def unmeasured(spec: TrialSpec) -> TrialResult:
        return evaluate(spec).model_copy(update={"energy": energy_report(None)})

    class Deaf(FakeDispatcher):
        """Its trials hear of no end, and come to theirs."""

        def cancel(self, trial_id: str) -> None:
            self.release(self.held().index(trial_id))

    study, dispatcher = new_study(store, budget={"energy_joules": 100.0}), Deaf(2, unmeasured, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def finish_one() -> None:
        dispatcher.wait_for_submitted(2)
        dispatcher.release()

    with pytest.raises(ServiceError, match="add n_trials or wall_seconds"):
        in_background(coordinator, finish_one)
    assert store.study(study.study_id).state is StudyState.FAILED
    assert store.n_trials(study.study_id)["completed"] == len(dispatcher.submitted) >= 2
