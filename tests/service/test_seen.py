from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.schema import Study, TrialState
from service.seen import SeenTrials
from service.store import Store, reader
from tests.service.fakes import FakeDispatcher, completed, study_spec, trial
from tests.service.running import coordinator_of, new_study

N = 50


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(None) as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    study = store.create_study(study_spec())
    for i in range(N):
        store.add_trial(trial(str(i), study_id=study.study_id))
    return study


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trials whose rows have been read."""
    read: list[str] = []
    to_trial = reader.to_trial

    def noting(row: Any) -> Any:
        read.append(row["trial_id"])
        return to_trial(row)

    monkeypatch.setattr(reader, "to_trial", noting)
    return read


def test_each_look_reads_what_has_changed_since_the_last_one(store: Store, study: Study, rows: list[str]) -> None:
    seen = SeenTrials(store, study.study_id)
    looks = []

    def look() -> None:
        rows.clear()
        seen.now()
        looks.append(list(rows))

    look()
    look()
    store.start_attempts(store.trials(study.study_id)[3:5])
    look()
    store.finish_attempt(completed("3", study_id=study.study_id), TrialState.COMPLETED)
    store.add_trial(trial("new", study_id=study.study_id))
    look()
    assert looks == [[str(i) for i in range(N)], [], ["3", "4"], ["3", "new"]]
    assert seen.now() == store.trials(study.study_id)


def test_several_new_trials_come_in_the_order_in_which_they_were_added(store: Store, study: Study) -> None:
    seen = SeenTrials(store, study.study_id)
    seen.now()
    for name in ("a", "b"):
        store.add_trial(trial(name, study_id=study.study_id))
    for name in ("b", "a"):
        store.start_attempt(store.trial(study.study_id, name))
    assert seen.now() == store.trials(study.study_id)


def test_what_a_coordinator_tells_of_is_what_the_store_holds_at_the_price_of_what_changed(
    store: Store, rows: list[str]
) -> None:
    study = new_study(store, budget={"n_trials": 12})
    seen = SeenTrials(store, study.study_id)
    read: list[int] = []

    def look() -> None:
        rows.clear()
        trials = seen.now()
        read.append(len(rows))
        assert trials == store.trials(study.study_id)

    coordinator_of(study, store, FakeDispatcher(2), on_change=look).run()
    # A trial is added, begins and finishes.
    assert sum(read) <= 3 * 12
