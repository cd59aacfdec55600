from __future__ import annotations

from typing import Any

import pytest

from service.api.digests import Digests
from service.api.reading import Reading
from service.schema import Study, TrialState
from service.store import Store
from tests.service.fakes import completed, failed
from tests.service.served import finish


@pytest.fixture
def read(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds of the events that are read from the store."""
    found: list[str] = []
    real = store.events

    def events(*arguments: Any, **options: Any) -> Any:
        batch = real(*arguments, **options)
        found.extend(event.kind for event in batch)
        return batch

    monkeypatch.setattr(store, "events", events)
    return found


def test_columns_and_analyses_share_one_reading(
    store: Store, study: Study, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "trials_changed", None)
    digests, n_events = Digests(store), len(store.events(study.study_id))
    read.clear()
    assert len(digests.points(study, 0, 100)) == 7
    assert digests.front(study) and digests.ledger(study).entries and digests.rungs(study).rungs
    assert len(read) == n_events


def test_who_wants_few_trials_does_not_wait_for_all(
    store: Store, study: Study, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.reading._BATCH", 4)
    reading = Reading(store, study.study_id)
    (first,) = reading.changed(0, 1)
    assert (first.trial_id, len(read)) == ("default", 4)
    found = reading.changed(first.seq, 100)
    assert [trial.trial_id for trial in found][-6:] == ["00001", "00002", "00003", "00004", "00005", "00006"]


def test_trials_are_those_of_the_store(store: Store, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.reading._BATCH", 3)
    reading = Reading(store, study.study_id)
    assert reading.all().trials == store.trials_changed(study.study_id, 0)
    store.retry_trial(store.trial(study.study_id, "00004"), "again")
    store.stop_trial(store.trial(study.study_id, "00006"), "enough")
    finish(store, study, failed("00007"))
    assert reading.all().trials == store.trials_changed(study.study_id, 0)


def test_what_was_seen_stays_as_it_was(store: Store, study: Study) -> None:
    reading = Reading(store, study.study_id)
    seen = reading.all()
    before = (len(seen.trials), seen.ledger.joules, len(seen.progress.completed), [dict(row) for row in seen.attempts])
    assert store.finish_attempt(
        completed("00005", error=0.1).model_copy(update={"study_id": study.study_id}), TrialState.COMPLETED
    )
    finish(store, study, completed("00007", error=0.1))
    assert reading.all().n_full == seen.n_full + 2
    assert (len(seen.trials), seen.ledger.joules, len(seen.progress.completed), seen.attempts) == before
