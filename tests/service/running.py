"""A study, its coordinator and a dispatcher that tests steer, brought together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.assembly import make_coordinator
from service.compared import DEFAULT_TRIAL_ID
from service.coordinator import Coordinator
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Store
from tests.service.fakes import (
    FACTS,
    FakeDispatcher,
    study_spec,
)


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
        return running.result(timeout=120)


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
