from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.compared import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.dispatch import lost
from service.optimizer import Optimizer, Suggestion
from service.ranking import front
from service.schema import StudyState, TrialState
from service.store import Store
from tests.service.fakes import (
    N_LAYERS,
    FakeDispatcher,
    completed,
    evaluate,
    failed,
    measurement,
)
from tests.service.running import assert_complete, by_id, coordinator_of, in_background, new_study, raise_budget
from worker.schema import Recipe, TrialResult, TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


@pytest.mark.parametrize("optimizer", ["greenshift", "random"])
@pytest.mark.parametrize("n_slots", [1, 3])
def test_a_study_ends_with_exactly_the_trials_of_its_budget(store: Store, optimizer: str, n_slots: int) -> None:
    study = new_study(store, optimizer=optimizer, budget={"n_trials": 12})
    assert coordinator_of(study, store, FakeDispatcher(n_slots)).run() is StudyState.COMPLETED
    assert_complete(store, study, 12)


def test_a_study_of_one_trial_is_the_default_alone(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 1})
    coordinator_of(study, store).run()
    assert list(by_id(store, study)) == [DEFAULT_TRIAL_ID]


def test_the_default_is_the_papers_at_full_depth_and_fidelity(store: Store) -> None:
    fidelity = {"name": "shift_depth", "min_fidelity": 1, "max_fidelity": 9, "together": {"epochs": [1, 7]}}
    study = new_study(store, fidelity=fidelity)
    coordinator_of(study, store).run()
    defaults = [t for t in store.trials(study.study_id) if t.is_default]
    assert len(defaults) == 1
    default = defaults[0]
    assert (default.shift_depth, default.epochs, default.fidelity, default.is_full) == (N_LAYERS, 7, 9.0, True)
    assert default.config == Recipe().model_dump()


def test_a_recommended_baseline_is_the_same_network_with_another_recipe_and_counts_as_an_evaluation(
    store: Store,
) -> None:
    study = new_study(store, optimizer="greenshift", baselines=["deepshift-recommended"], budget={"n_trials": 12})
    coordinator_of(study, store).run()
    trials = by_id(store, study)
    default, recommended = trials[DEFAULT_TRIAL_ID], trials[RECOMMENDED_TRIAL_ID]
    changed = {key for key, value in recommended.config.items() if value != default.config[key]}
    assert len(trials) == 12
    assert changed == {"optimizer", "learning_rate", "schedule"}
    assert recommended.model_dump(include={"shift_depth", "epochs", "fidelity", "is_default", "is_full", "seed"}) == (
        default.model_dump(include={"shift_depth", "epochs", "fidelity", "is_default", "is_full", "seed"})
    )
    assert not {t.trial_id for t in front(study.spec, trials.values())} & {DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID}


def test_what_a_study_fixes_holds_for_the_default_and_the_search_and_a_baselines_recipe_outranks_it(
    store: Store,
) -> None:
    fixed = {"schedule": "constant", "augmentation": "none", "batch_size": 16, "test_batch_size": 50}
    study = new_study(store, fixed=fixed, baselines=["deepshift-recommended"], initial_configs=[{"weight_bits": 3}])
    dispatcher = FakeDispatcher(1)
    coordinator_of(study, store, dispatcher).run()
    recipes = {spec.trial_id: spec.recipe.model_dump() for spec in dispatcher.submitted}
    recommended = recipes.pop(RECOMMENDED_TRIAL_ID)
    assert [recommended[name] for name in fixed] == ["step", None, 128, 50]
    assert {tuple(recipe[name] for name in fixed) for recipe in recipes.values()} == {("constant", (), 16, 50)}
    assert recipes[DEFAULT_TRIAL_ID] == Recipe(**fixed).model_dump()
    assert by_id(store, study)["00001"].config["weight_bits"] == 3


def test_a_study_goes_on_with_its_recommended_baseline(store: Store) -> None:
    baseline = ["deepshift-recommended"]
    study = new_study(store, optimizer="greenshift", baselines=baseline, budget={"n_trials": 1})
    coordinator_of(study, store).run()
    assert list(by_id(store, study)) == [DEFAULT_TRIAL_ID]
    for n_trials in (6, 12):
        raise_budget(store, study, {"n_trials": n_trials})
        assert coordinator_of(study, store).run() is StudyState.COMPLETED
        assert len(by_id(store, study)) == n_trials
    assert Counter(t.is_default for t in store.trials(study.study_id)) == {True: 2, False: 10}


def test_the_default_is_never_told_to_the_optimizer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    tell = Optimizer.tell

    def watched(self: Optimizer, trial: Suggestion | str, *values: Any, **options: Any) -> None:
        told.append(trial if isinstance(trial, str) else trial.trial_id)
        tell(self, trial, *values, **options)

    monkeypatch.setattr(Optimizer, "tell", watched)
    study = new_study(store)
    coordinator_of(study, store).run()
    assert len(told) >= 7
    assert DEFAULT_TRIAL_ID not in told
    assert len(told) == len(set(told))


def test_knobs_follow_the_fidelity_and_the_fidelity_stays_exact(store: Store) -> None:
    fidelity = {"name": "shift_depth", "min_fidelity": 3, "max_fidelity": 10, "together": {"epochs": [3, 9]}}
    study = new_study(store, optimizer="greenshift", fidelity=fidelity)
    coordinator_of(study, store).run()
    low = by_id(store, study)["00001"]
    assert low.fidelity == pytest.approx(10 / 3, abs=1e-12)
    assert (low.shift_depth, low.epochs, low.is_full) == (3, 3, False)
    full = [t for t in store.trials(study.study_id) if t.fidelity == 10.0 and not t.is_default]
    assert full
    assert {(t.shift_depth, t.epochs, t.is_full) for t in full} == {(10, 9, True)}


def test_only_full_trials_keep_their_weights(store: Store) -> None:
    study = new_study(store, optimizer="greenshift", fidelity={"min_fidelity": 3, "max_fidelity": 10})
    dispatcher = FakeDispatcher()
    coordinator_of(study, store, dispatcher, models_dir="/models").run()
    trials = by_id(store, study)
    for spec in dispatcher.submitted:
        path = f"/models/{spec.trial_id}.safetensors"
        assert spec.model_path == (path if trials[spec.trial_id].is_full else None)


def test_every_slot_is_kept_busy(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 12})
    dispatcher = FakeDispatcher(3, holds=True)

    def steer() -> None:
        for n in range(3, 13):
            dispatcher.wait_for_submitted(n)
            assert len(dispatcher.held()) == 3
            # The second oldest: results come in another order than they were asked for.
            dispatcher.release(1)
        while dispatcher.held():
            dispatcher.release()

    assert in_background(coordinator_of(study, store, dispatcher), steer) is StudyState.COMPLETED
    assert_complete(store, study, 12)


def test_a_lost_worker_costs_an_attempt_and_no_trial(store: Store) -> None:
    def first_attempt_is_lost(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.attempt == 1 and spec.trial_id == "00002" else evaluate(spec)

    study = new_study(store)
    coordinator_of(study, store, FakeDispatcher(2, first_attempt_is_lost)).run()
    trials = by_id(store, study)
    assert len(trials) == 10
    assert (trials["00002"].state, trials["00002"].attempt) == (TrialState.COMPLETED, 2)
    assert {t.attempt for name, t in trials.items() if name != "00002"} == {1}


@pytest.mark.parametrize(
    ("limit", "n_attempts"), [({}, 11), ({"max_lost_workers": 2}, 3), ({"max_lost_workers": 0}, 1)]
)
def test_a_trial_fails_that_loses_more_workers_than_its_study_allows(
    store: Store, limit: dict[str, int], n_attempts: int
) -> None:
    def always_lost(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.trial_id in ("00002", DEFAULT_TRIAL_ID) else evaluate(spec)

    study = new_study(store, **limit)
    dispatcher = FakeDispatcher(2, always_lost)
    assert coordinator_of(study, store, dispatcher).run() is StudyState.COMPLETED
    attempts = [s.attempt for s in dispatcher.submitted if s.trial_id == "00002"]
    assert attempts == list(range(1, n_attempts + 1))
    assert by_id(store, study)["00002"].state is TrialState.FAILED


@pytest.mark.parametrize("kind", ["diverged", "out_of_memory", "crashed", "configuration"])
def test_a_config_that_fails_is_not_tried_again(store: Store, kind: str) -> None:
    def evens_fail(spec: TrialSpec) -> TrialResult:
        is_even = spec.trial_id.isdigit() and int(spec.trial_id) % 2 == 0
        return failed(spec.trial_id, spec.attempt, kind, study_id=spec.study_id) if is_even else evaluate(spec)

    study = new_study(store)
    dispatcher = FakeDispatcher(2, evens_fail)
    assert coordinator_of(study, store, dispatcher).run() is StudyState.COMPLETED
    assert {s.attempt for s in dispatcher.submitted} == {1}
    states = Counter(t.state for t in store.trials(study.study_id))
    assert states == {TrialState.COMPLETED: 6, TrialState.FAILED: 4}


def test_an_unmeasured_objective_is_no_crash(store: Store) -> None:
    def without_energy(spec: TrialSpec) -> TrialResult:
        unknown = {"energy": measurement(None, "none", "none")}
        return completed(
            spec.trial_id, spec.attempt, study_id=spec.study_id, error=0.5, joules=None, objectives=unknown
        )

    objectives = {"error": "minimize", "energy": "minimize"}
    study = new_study(store, objectives=objectives, optimizer="greenshift", budget={"n_trials": 14})
    assert coordinator_of(study, store, FakeDispatcher(2, without_energy)).run() is StudyState.COMPLETED
    trials = store.trials(study.study_id)
    assert {(t.state, t.attempt) for t in trials} <= {(TrialState.COMPLETED, 1), (TrialState.WAITING, 0)}
    assert {t.value("energy") for t in trials} == {None}


def test_what_a_constraint_is_about_is_measured(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 2}, constraints=["latency <= 1", "error <= 0.9"])
    dispatcher = FakeDispatcher()
    coordinator_of(study, store, dispatcher).run()
    assert {s.extra_objectives for s in dispatcher.submitted} == {("latency",)}
    assert study.spec.measures_energy


def test_limits_of_a_trial_reach_the_worker(store: Store) -> None:
    limits = {"trial_time_limit_seconds": 60.0, "trial_memory_limit_bytes": 10**9}
    dispatcher = FakeDispatcher()
    coordinator_of(new_study(store, budget={"n_trials": 2}, **limits), store, dispatcher).run()
    assert {(s.time_limit_seconds, s.memory_limit_bytes) for s in dispatcher.submitted} == {(60.0, 10**9)}


def test_changes_are_reported_from_the_first_to_the_last_state(store: Store) -> None:
    study = new_study(store)
    seen: list[StudyState] = []
    coordinator_of(study, store, on_change=lambda: seen.append(store.study(study.study_id).state)).run()
    assert seen[0] is StudyState.RUNNING
    assert seen[-1] is StudyState.COMPLETED


class WorkersComeAndGo(FakeDispatcher):
    """Loses its only worker with the first attempt, and has one again only some looks later."""

    n_looks = 0

    def n_slots(self) -> int:
        if len(self.submitted) == 1:
            self.n_looks += 1
            return int(self.n_looks > 3)
        return 1


def test_a_study_without_workers_waits_for_one(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    study = new_study(store, budget={"n_trials": 3})
    first_is_lost = WorkersComeAndGo(
        1,
        lambda spec: lost(spec, "gone") if spec.trial_id == DEFAULT_TRIAL_ID and spec.attempt == 1 else evaluate(spec),
    )

    assert coordinator_of(study, store, first_is_lost).run() is StudyState.COMPLETED

    assert [r.message for r in caplog.records] == ["no worker is there; waiting for one"]


def test_a_result_of_an_attempt_that_was_given_up_changes_nothing(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 2})
    dispatcher = FakeDispatcher(1, holds=True)
    coordinator = coordinator_of(study, store, dispatcher)

    def late_result_first() -> None:
        dispatcher.wait_for_submitted(1)
        spec, done = dispatcher._held[0]
        done(evaluate(spec.model_copy(update={"attempt": 7})))
        dispatcher.release()
        dispatcher.wait_for_submitted(2)
        dispatcher.release()

    assert in_background(coordinator, late_result_first) is StudyState.COMPLETED
    assert [e.kind for e in store.events(study.study_id)].count("late_result") == 1
    assert by_id(store, study)[DEFAULT_TRIAL_ID].attempt == 1
