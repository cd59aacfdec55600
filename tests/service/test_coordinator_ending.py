"""How a study ends: its budget, a stop, failures; and how it goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.budget import Spent
from service.compared import DEFAULT_TRIAL_ID
from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion
from service.ranking import front
from service.schema import StudyState, TrialState
from service.store import Store
from tests.service.fakes import (
    FakeDispatcher,
    completed,
    energy_report,
    evaluate,
    failed,
)
from tests.service.running import assert_complete, by_id, coordinator_of, in_background, new_study, raise_budget
from worker.schema import TrialResult, TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


def test_a_study_whose_trials_all_fail_has_failed(store: Store) -> None:
    study = new_study(store, optimizer="greenshift", budget={"n_trials": 14})
    all_fail = FakeDispatcher(2, lambda s: failed(s.trial_id, s.attempt, study_id=s.study_id))
    assert coordinator_of(study, store, all_fail).run() is StudyState.FAILED
    assert {t.state for t in store.trials(study.study_id)} == {TrialState.FAILED}
    assert store.study(study.study_id).reason == (
        "no trial of the search completed; the last failure: diverged: on purpose"
    )
    assert len(by_id(store, study)) == 14


def test_a_stopped_study_gives_its_trials_back_and_goes_on_later(store: Store) -> None:
    study = new_study(store, optimizer="greenshift", budget={"n_trials": 14})
    dispatcher = FakeDispatcher(2, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def stop_after_four() -> None:
        for n in range(2, 6):
            dispatcher.wait_for_submitted(n)
            dispatcher.release()
        dispatcher.wait_for_submitted(6)
        coordinator.stop()

    assert in_background(coordinator, stop_after_four) is StudyState.STOPPED
    assert store.study(study.study_id).state is StudyState.STOPPED
    stopped = by_id(store, study)
    assert Counter(t.state for t in stopped.values())[TrialState.COMPLETED] == 4
    assert {t.state for t in stopped.values()} == {TrialState.COMPLETED, TrialState.WAITING}
    later = FakeDispatcher(2)
    assert coordinator_of(study, store, later).run() is StudyState.COMPLETED
    assert_complete(store, study, 14)
    finished = {name for name, t in stopped.items() if t.state is TrialState.COMPLETED}
    assert not finished & {s.trial_id for s in later.submitted}
    assert all(by_id(store, study)[name].result == stopped[name].result for name in finished)


def test_a_result_that_comes_after_the_stop_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class DeafDispatcher(FakeDispatcher):
        """Its trials hear of no end."""

        def cancel(self, trial_id: str) -> None:
            pass

    monkeypatch.setattr("service.coordinator._GRACE_SECONDS", 0.01)
    study = new_study(store)
    dispatcher = DeafDispatcher(2, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def stop() -> None:
        dispatcher.wait_for_submitted(2)
        coordinator.stop()

    in_background(coordinator, stop)
    before = store.trials(study.study_id)
    dispatcher.release()
    assert store.trials(study.study_id) == before


def test_trials_that_run_at_the_stop_are_cancelled_and_what_they_spent_is_kept(store: Store) -> None:
    class SpendingDispatcher(FakeDispatcher):
        """Its cancelled trials have spent 7 J."""

        def cancel(self, trial_id: str) -> None:
            for spec, done in [held for held in self._held if held[0].trial_id == trial_id]:
                self._held.remove((spec, done))
                result = failed(spec.trial_id, spec.attempt, "cancelled", study_id=spec.study_id)
                done(result.model_copy(update={"energy": energy_report(7.0)}))

    study = new_study(store)
    dispatcher = SpendingDispatcher(2, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def stop() -> None:
        dispatcher.wait_for_submitted(2)
        coordinator.stop()

    assert in_background(coordinator, stop) is StudyState.STOPPED
    running = [t for t in store.trials(study.study_id) if t.attempt]
    assert [t.state for t in running] == [TrialState.WAITING] * 2
    assert Spent.from_events(store.events(study.study_id)).energy_joules == 14.0
    assert dispatcher.held() == []


class BrokenOptimizer(Optimizer):
    """Breaks at the third ask."""

    def ask(self) -> Suggestion | None:
        if len(self._suggestions) == 2:
            raise RuntimeError("out of ideas")
        return super().ask()


def test_an_exception_of_the_optimizer_fails_the_study_and_is_raised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(store)
    monkeypatch.setattr("service.assembly.Optimizer", BrokenOptimizer)
    with pytest.raises(ServiceError, match="out of ideas"):
        coordinator_of(study, store).run()
    assert store.study(study.study_id).state is StudyState.FAILED
    assert "out of ideas" in store.events(study.study_id)[-1].payload["reason"]
    assert TrialState.RUNNING not in {t.state for t in store.trials(study.study_id)}
    monkeypatch.undo()
    assert coordinator_of(study, store).run() is StudyState.COMPLETED
    assert_complete(store, study, 10)


@pytest.mark.parametrize("budget", [{"energy_joules": 45}, {"emissions_grams": 4.5}])
def test_spent_energy_ends_a_study(store: Store, budget: dict[str, float]) -> None:
    study = new_study(store, budget=budget)
    assert coordinator_of(study, store, FakeDispatcher(1)).run() is StudyState.COMPLETED
    trials = store.trials(study.study_id)
    assert {(t.state, t.attempt) for t in trials} <= {(TrialState.COMPLETED, 1), (TrialState.WAITING, 0)}
    # Ten joules a trial: the fifth reaches the limit, and one was asked for ahead of it.
    assert 5 <= len(trials) <= 7


@pytest.mark.parametrize("budget", [{"energy_joules": 100.0}, {"emissions_grams": 100.0}])
def test_a_budget_of_unknown_energy_fails_the_study_in_place_of_running_for_ever(
    store: Store, budget: dict[str, float]
) -> None:
    def unmeasured(spec: TrialSpec) -> TrialResult:
        return evaluate(spec).model_copy(update={"energy": energy_report(None)})

    study = new_study(store, budget=budget)
    with pytest.raises(ServiceError, match=r"budget: the energy of trial default is unknown .*: add n_trials"):
        coordinator_of(study, store, FakeDispatcher(1, unmeasured)).run()
    assert store.study(study.study_id).state is StudyState.FAILED


def test_a_study_that_gets_nowhere_ends(store: Store) -> None:
    def gets_worse(spec: TrialSpec) -> TrialResult:
        n = 0 if spec.trial_id == DEFAULT_TRIAL_ID else int(spec.trial_id)
        return completed(spec.trial_id, spec.attempt, study_id=spec.study_id, error=n / 1000, deployment_energy=n)

    study = new_study(store, budget={"n_trials": 100, "stalled_rungs": 2})
    assert coordinator_of(study, store, FakeDispatcher(1, gets_worse)).run() is StudyState.COMPLETED
    # The default, the best, two rungs of three, and at most what was asked for ahead.
    assert 8 <= len(store.trials(study.study_id)) <= 10


def test_spent_time_ends_a_study(store: Store) -> None:
    study = new_study(store, budget={"wall_seconds": 1e-6})
    assert coordinator_of(study, store).run() is StudyState.COMPLETED
    assert list(by_id(store, study)) == [DEFAULT_TRIAL_ID]


def writing(spec: TrialSpec) -> TrialResult:
    """Trains nothing, but leaves weights where a worker would."""
    if spec.model_path is not None:
        Path(spec.model_path).parent.mkdir(exist_ok=True)
        Path(spec.model_path).touch()
    return evaluate(spec)


@pytest.mark.parametrize("stops", [False, True])
def test_a_run_that_ends_keeps_the_weights_of_the_front_and_the_default(
    store: Store, tmp_path: Path, stops: bool
) -> None:
    study = new_study(store, budget={"n_trials": 20}, keep_models="front")
    models = tmp_path / "models"

    def after_nine(spec: TrialSpec) -> TrialResult:
        if stops and spec.trial_id == "00009":
            coordinator.stop()
        return writing(spec)

    coordinator = coordinator_of(study, store, FakeDispatcher(1, after_nine), models_dir=str(models))
    state = coordinator.run()

    trials = store.trials(study.study_id)
    kept = {t.trial_id for t in front(study.spec, trials)} | {DEFAULT_TRIAL_ID}
    assert state is (StudyState.STOPPED if stops else StudyState.COMPLETED)
    assert {path.stem for path in models.iterdir()} == kept
    assert len(kept) < sum(t.state is TrialState.COMPLETED and t.is_full for t in trials)


def test_a_raised_budget_continues_a_completed_study(store: Store) -> None:
    study = new_study(store, optimizer="greenshift", budget={"n_trials": 5})
    coordinator_of(study, store).run()
    before = by_id(store, study)
    raise_budget(store, study, {"n_trials": 12})
    coordinator_of(study, store).run()
    assert_complete(store, study, 12)
    assert all(by_id(store, study)[name] == t for name, t in before.items())
