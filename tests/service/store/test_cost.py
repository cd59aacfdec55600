"""What calls cost, counted and not timed: statements, and steps of SQLite's machine, which grow with rows read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from service.schema import Study, TrialState
from service.store import Store
from tests.service.fakes import completed, study_spec, trial
from tests.service.store.conftest import AddTrial

Call = Callable[[Store, str], object]


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """Everything that is sent to the database, except that SQLAlchemy ends transactions without a statement."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(store.database._engine, "before_cursor_execute", note)
    yield sent
    event.remove(store.database._engine, "before_cursor_execute", note)


def test_recording_a_result_takes_five_statements(store: Store, study: Study, add: AddTrial) -> None:
    store.start_attempt(add())
    with statements(store) as sent:
        store.finish_attempt(completed("00001", study_id=study.study_id), TrialState.COMPLETED)
    # Beginning (or the transaction's number), holding the study, reading the trial, the event, the trial's row.
    assert len(sent) == 5


@pytest.mark.parametrize(
    "call",
    [
        lambda store, study_id: store.trials_page(study_id),
        lambda store, study_id: store.n_trials(study_id),
        lambda store, study_id: store.trials_changed(study_id, 0),
        lambda store, study_id: store.events(study_id, limit=100),
        lambda store, study_id: store.requests(study_id),
        lambda store, study_id: store.studies(limit=10),
    ],
)
def test_reading_takes_one_statement(store: Store, study: Study, add: AddTrial, call: Call) -> None:
    for i in range(3):
        add(str(i))
    with statements(store) as sent:
        call(store, study.study_id)
    assert len([s for s in sent if s != "BEGIN"]) == 1


@pytest.fixture(scope="module")
def two_sizes() -> Iterator[tuple[Store, str, str]]:
    """A study of 40 trials and one of 400; each had a request in its middle."""
    with Store(None) as store:
        ids = []
        for n in (40, 400):
            study_id = store.create_study(study_spec()).study_id
            for i in range(n):
                store.add_trial(trial(str(i), study_id=study_id))
                if i % 10 == 0:
                    store.start_attempt(store.trial(study_id, str(i)))
            store.answer(store.request(study_id, "pause"), "paused")
            for i in range(n):
                store.record_told(study_id, str(i))
            ids.append(study_id)
        yield store, ids[0], ids[1]


def steps(store: Store, call: Callable[[], object]) -> int:
    """How many steps SQLite's machine takes for a call; the same every time."""
    n = 0

    def count() -> int:
        nonlocal n
        n += 1
        return 0

    sqlite = store.database.read(lambda c: c.connection.driver_connection)
    call()  # so that the statement is prepared
    sqlite.set_progress_handler(count, 1)
    call()
    sqlite.set_progress_handler(None, 1)
    return n


@pytest.mark.parametrize(
    "call",
    [
        lambda store, study_id: store.trials_page(study_id, limit=5),
        lambda store, study_id: store.trials_page(study_id, limit=5, newest_first=True),
        lambda store, study_id: store.trials_page(study_id, TrialState.RUNNING, limit=3),
        lambda store, study_id: store.trials_page(study_id, after=store.trial(study_id, "30").seq, limit=5),
        lambda store, study_id: store.trials_changed(study_id, store.trial(study_id, "31").seq, limit=5),
        lambda store, study_id: store.events(study_id, limit=5, newest_first=True),
        lambda store, study_id: store.requests(study_id),
        lambda store, study_id: store.answered(study_id),
        lambda store, study_id: store.trial(study_id, "31"),
        lambda store, study_id: store.record_told(study_id, "31"),
    ],
)
def test_a_call_costs_the_same_in_a_study_of_ten_times_the_size(two_sizes: tuple[Store, str, str], call: Call) -> None:
    store, small, large = two_sizes
    assert steps(store, lambda: call(store, large)) <= 1.1 * steps(store, lambda: call(store, small)) + 10


def test_what_reads_everything_costs_more_in_a_larger_study(two_sizes: tuple[Store, str, str]) -> None:
    store, small, large = two_sizes
    assert steps(store, lambda: store.trials(large)) > 5 * steps(store, lambda: store.trials(small))
