from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.assembly import make_coordinator
from service.baselines import DEFAULT_TRIAL_ID, RECOMMENDED_TRIAL_ID
from service.budget import Spent
from service.coordinator import MAX_LOST_WORKERS, Coordinator
from service.dispatch import Done, OnEpoch, lost
from service.errors import ServiceError
from service.optimizer import Optimizer, Suggestion
from service.ranking import front
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store
from tests.service.fakes import (
    FACTS,
    N_LAYERS,
    FakeDispatcher,
    completed,
    energy_report,
    evaluate,
    failed,
    measurement,
    study_spec,
)
from worker.schema import EpochMetrics, Recipe, TrialResult, TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


def new_study(store: Store, **changes: Any) -> Study:
    return store.create_study(study_spec(**({"optimizer": "random"} | changes)))


def coordinator_of(study: Study, store: Store, dispatcher: FakeDispatcher | None = None, **options: Any) -> Coordinator:
    return make_coordinator(store.study(study.study_id), store, dispatcher or FakeDispatcher(), FACTS, **options)


def raise_budget(store: Store, study: Study, budget: dict[str, int]) -> None:
    spec = study.spec.model_copy(update={"budget": study_spec(budget=budget).budget})
    store.change_spec(study, spec)


def by_id(store: Store, study: Study) -> dict[str, Trial]:
    return {t.trial_id: t for t in store.trials(study.study_id)}


def in_background(coordinator: Coordinator, meanwhile: Callable[[], None]) -> StudyState:
    """Runs the loop on a thread of its own, with `meanwhile` beside it."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(coordinator.run)
        try:
            meanwhile()
        except BaseException:
            coordinator.stop()
            raise
        return running.result(timeout=60)


def assert_complete(store: Store, study: Study, n_trials: int) -> None:
    """Every trial finished exactly once, whatever happened on the way."""
    trials = store.trials(study.study_id)
    events = store.events(study.study_id)
    assert len(trials) == n_trials
    assert {t.trial_id for t in trials} == {DEFAULT_TRIAL_ID, *(f"{i:05d}" for i in range(1, n_trials))}
    assert {t.state for t in trials} == {TrialState.COMPLETED}
    finished = Counter(e.trial_id for e in events if e.payload.get("state") == "COMPLETED")
    assert finished == Counter(t.trial_id for t in trials)
    told = Counter(e.trial_id for e in events if e.kind == "trial_told")
    assert set(told.values()) <= {1}
    assert store.study(study.study_id).state is StudyState.COMPLETED


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
    promoted = [t for t in store.trials(study.study_id) if t.promoted_from]
    assert promoted
    assert {(t.fidelity, t.shift_depth, t.epochs, t.is_full) for t in promoted} == {(10.0, 10, 9, True)}


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


def test_a_trial_whose_workers_are_all_lost_fails_after_three_attempts(store: Store) -> None:
    def always_lost(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.trial_id in ("00002", DEFAULT_TRIAL_ID) else evaluate(spec)

    study = new_study(store)
    dispatcher = FakeDispatcher(2, always_lost)
    assert coordinator_of(study, store, dispatcher).run() is StudyState.COMPLETED
    attempts = [s.attempt for s in dispatcher.submitted if s.trial_id == "00002"]
    assert attempts == list(range(1, MAX_LOST_WORKERS + 2)) == [1, 2, 3]
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


def test_a_study_whose_trials_all_fail_has_failed(store: Store) -> None:
    study = new_study(store, optimizer="greenshift", budget={"n_trials": 14})
    all_fail = FakeDispatcher(2, lambda s: failed(s.trial_id, s.attempt, study_id=s.study_id))
    assert coordinator_of(study, store, all_fail).run() is StudyState.FAILED
    assert {t.state for t in store.trials(study.study_id)} == {TrialState.FAILED}
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


def test_an_optimizer_that_breaks_is_built_anew_from_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    n_asks = 0
    ask = Optimizer.ask

    def fragile(self: Optimizer) -> Suggestion | None:
        nonlocal n_asks
        n_asks += 1
        if n_asks in (4, 9):
            raise RuntimeError("on purpose")
        return ask(self)

    monkeypatch.setattr(Optimizer, "ask", fragile)
    study = new_study(store, optimizer="random", budget={"n_trials": 9})
    assert coordinator_of(study, store).run() is StudyState.COMPLETED
    assert_complete(store, study, 9)
    assert "the optimizer failed and is built anew from the log" in caplog.text


def test_a_late_result_of_an_earlier_attempt_leaves_no_trial_running(store: Store) -> None:
    class LateDispatcher(FakeDispatcher):
        """A lost worker's result comes after all, when the trial is being tried again."""

        def submit(self, spec: TrialSpec, done: Done, on_epoch: OnEpoch = lambda _: None) -> None:
            if spec.attempt == 2:
                done(evaluate(spec.model_copy(update={"attempt": 1})))
            super().submit(spec, done, on_epoch)

    def first_attempt_is_lost(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.attempt == 1 and spec.trial_id == "00002" else evaluate(spec)

    study = new_study(store)
    coordinator_of(study, store, LateDispatcher(1, first_attempt_is_lost)).run()
    assert {t.state for t in store.trials(study.study_id)} == {TrialState.COMPLETED}
    assert "late_result" in [e.kind for e in store.events(study.study_id)]


class KilledError(BaseException):
    """The process is gone."""


class Fuse:
    """Raises at its n-th use."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


class DyingStore(Store):
    """A store whose process may die before and after every change."""

    fuse: Callable[[], None] = staticmethod(lambda: None)


def _dying(name: str) -> Callable[..., Any]:
    original = getattr(Store, name)

    def change(self: DyingStore, *values: Any) -> Any:
        self.fuse()
        changed = original(self, *values)
        self.fuse()
        return changed

    return change


for _name in ("add_trial", "start_attempt", "finish_attempt", "give_back", "record_told", "set_study_state"):
    setattr(DyingStore, _name, _dying(_name))


def run_killed(study: Study, store: Store, **options: Any) -> None:
    with suppress(KilledError):
        coordinator_of(study, store, FakeDispatcher(2), **options).run()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_a_loop_killed_after_any_change_is_recovered(kills: list[int]) -> None:
    with Store(None) as store:
        study = new_study(store, budget={"n_trials": 7})
        for k in kills:
            run_killed(study, store, on_change=Fuse(k))
        coordinator_of(study, store).run()
        assert_complete(store, study, 7)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=4))
def test_a_loop_killed_between_any_two_writes_is_recovered(kills: list[int]) -> None:
    with DyingStore(None) as store:
        study = new_study(store, budget={"n_trials": 7})
        for k in kills:
            store.fuse = Fuse(k)
            run_killed(study, store)
        store.fuse = lambda: None
        coordinator_of(study, store).run()
        assert_complete(store, study, 7)


@pytest.mark.parametrize("k", [3, 11, 17, 26])
def test_a_multi_fidelity_study_killed_and_recovered_is_complete_and_repeats_nothing(store: Store, k: int) -> None:
    study = new_study(store, optimizer="greenshift", budget={"n_trials": 18})
    run_killed(study, store, on_change=Fuse(k))
    coordinator_of(study, store).run()
    assert_complete(store, study, 18)
    proposed = [(tuple(sorted(t.config.items())), t.fidelity) for t in store.trials(study.study_id) if not t.is_default]
    assert len(set(proposed)) == len(proposed)
    sampled = [config for config, _ in proposed]
    promoted = sum(t.promoted_from is not None for t in store.trials(study.study_id))
    assert len(set(sampled)) == len(sampled) - promoted


def test_a_study_killed_at_every_change_makes_progress_and_gives_no_trial_up(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 6})
    for _ in range(30):
        run_killed(study, store, on_change=Fuse(4))
    coordinator_of(study, store).run()
    assert_complete(store, study, 6)


def test_restarts_of_the_coordinator_are_not_held_against_a_trial(store: Store) -> None:
    study = new_study(store, budget={"n_trials": 1})
    for _ in range(MAX_LOST_WORKERS):
        run_killed(study, store, on_change=Fuse(1))
    n_before = by_id(store, study)[DEFAULT_TRIAL_ID].attempt

    def lost_once(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.attempt == n_before + 1 else evaluate(spec)

    coordinator_of(study, store, FakeDispatcher(1, lost_once)).run()
    assert by_id(store, study)[DEFAULT_TRIAL_ID].state is TrialState.COMPLETED


def test_the_rebuilt_optimizer_proposes_what_the_first_one_would_have(store: Store) -> None:
    def configs(kills: list[int]) -> list[tuple[dict[str, Any], float | None]]:
        study = new_study(store, optimizer="greenshift", budget={"n_trials": 10})
        for k in kills:
            with suppress(KilledError):
                coordinator_of(study, store, FakeDispatcher(1), on_change=Fuse(k)).run()
        coordinator_of(study, store, FakeDispatcher(1)).run()
        trials = by_id(store, study)
        return [(trials[f"{i:05d}"].config, trials[f"{i:05d}"].fidelity) for i in range(1, 7)]

    assert configs([8]) == configs([])


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
