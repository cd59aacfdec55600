from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.compared import DEFAULT_TRIAL_ID
from service.dispatch import Done, OnEpoch, lost
from service.optimizer import Optimizer, Suggestion
from service.schema import Study, StudyState, TrialState
from service.store import Store
from tests.service.fakes import (
    FakeDispatcher,
    evaluate,
)
from tests.service.running import assert_complete, by_id, coordinator_of, new_study
from worker.schema import TrialResult, TrialSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite") as store:
        yield store


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


for _name in (
    "add_trial",
    "start_attempts",
    "finish_attempts",
    "give_back",
    "record_asked",
    "set_study_state",
    "end_study",
):
    setattr(DyingStore, _name, _dying(_name))


def run_killed(study: Study, store: Store, **options: Any) -> None:
    with suppress(KilledError):
        coordinator_of(study, store, FakeDispatcher(2), **options).run()


@settings(max_examples=15)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_a_loop_killed_after_any_change_is_recovered(kills: list[int]) -> None:
    with Store(None) as store:
        study = new_study(store, budget={"n_trials": 7})
        for k in kills:
            run_killed(study, store, on_change=Fuse(k))
        coordinator_of(study, store).run()
        assert_complete(store, study, 7)


@settings(max_examples=20)
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
    study = new_study(store, budget={"n_trials": 1}, max_lost_workers=1)
    for _ in range(2):
        run_killed(study, store, on_change=Fuse(1))
    n_before = by_id(store, study)[DEFAULT_TRIAL_ID].attempt

    def lost_once(spec: TrialSpec) -> TrialResult:
        return lost(spec, "gone") if spec.attempt == n_before + 1 else evaluate(spec)

    coordinator_of(study, store, FakeDispatcher(1, lost_once)).run()
    assert by_id(store, study)[DEFAULT_TRIAL_ID].state is TrialState.COMPLETED


def test_the_rebuilt_optimizer_proposes_what_the_first_one_would_have(store: Store) -> None:
    def configs(kills: list[int]) -> list[tuple[dict[str, Any], float | None]]:
        study = new_study(store, optimizer="smac-default", budget={"n_trials": 10})
        for k in kills:
            with suppress(KilledError):
                coordinator_of(study, store, FakeDispatcher(1), on_change=Fuse(k)).run()
        coordinator_of(study, store, FakeDispatcher(1)).run()
        trials = by_id(store, study)
        return [(trials[f"{i:05d}"].config, trials[f"{i:05d}"].fidelity) for i in range(1, 7)]

    assert configs([8]) == configs([])
