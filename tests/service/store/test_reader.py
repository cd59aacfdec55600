from __future__ import annotations

import pytest

from service.errors import InputError
from service.schema import Study, StudyState, Trial, TrialState
from service.store import Page, Store, tables
from tests.service.fakes import completed, failed, study_spec, trial
from tests.service.store.conftest import AddTrial
from worker.schema import EpochMetrics


@pytest.fixture
def five(add: AddTrial) -> list[Trial]:
    """Trials whose names say nothing of their order."""
    return [add(name) for name in ("default", "9", "10", "1", "2")]


def ids(trials: list[Trial]) -> list[str]:
    return [t.trial_id for t in trials]


def all_pages(store: Store, study: Study, **options: object) -> list[list[str]]:
    """Every page, each asked for by the `next` of the one before."""
    pages, after = [], None
    while True:
        page: Page[Trial] = store.trials_page(study.study_id, after=after, **options)
        pages.append(ids(page.items))
        if page.next is None:
            return pages
        after = page.next


@pytest.mark.parametrize(
    ("options", "pages"),
    [
        ({"limit": 2}, [["default", "9"], ["10", "1"], ["2"]]),
        ({"limit": 2, "newest_first": True}, [["2", "1"], ["10", "9"], ["default"]]),
        ({"limit": 5}, [["default", "9", "10", "1", "2"]]),
        ({}, [["default", "9", "10", "1", "2"]]),
    ],
)
def test_pages_hold_every_trial_once_in_order(
    store: Store, study: Study, five: list[Trial], options: dict[str, object], pages: list[list[str]]
) -> None:
    assert all_pages(store, study, **options) == pages


def test_a_page_holds_whole_trials(store: Store, study: Study, five: list[Trial]) -> None:
    store.start_attempt(five[1])
    store.finish_attempt(completed("9", study_id=study.study_id, error=0.5), TrialState.COMPLETED)
    assert store.trials_page(study.study_id, limit=3).items == store.trials(study.study_id)[:3]


def test_pages_can_be_of_one_state(store: Store, study: Study, five: list[Trial]) -> None:
    for i in (0, 2, 4):
        store.start_attempt(five[i])
    assert all_pages(store, study, state=TrialState.RUNNING, limit=2) == [["default", "10"], ["2"]]
    assert all_pages(store, study, state=TrialState.FAILED) == [[]]


def test_a_trial_that_changes_between_two_pages_is_neither_missed_nor_doubled(
    store: Store, study: Study, five: list[Trial]
) -> None:
    first = store.trials_page(study.study_id, limit=2)
    store.start_attempt(five[0])
    store.start_attempt(five[3])
    second = store.trials_page(study.study_id, after=first.next, limit=9)
    assert ids(first.items + second.items) == ids(five)


def test_trials_that_changed_come_once_each_in_the_order_of_their_last_change(
    store: Store, study: Study, five: list[Trial]
) -> None:
    after = five[-1].seq
    assert store.trials_changed(study.study_id, after) == []
    running = store.start_attempt(five[3])
    store.start_attempt(five[0])
    store.give_back(running, "stopped")
    changed = store.trials_changed(study.study_id, after)
    assert changed == [store.trial(study.study_id, name) for name in ("default", "1")]
    assert store.trials_changed(study.study_id, after, limit=1) == changed[:1]
    assert store.trials_changed(study.study_id, changed[0].seq) == changed[1:]
    assert store.trials_changed(study.study_id, changed[1].seq) == []


def test_what_changes_no_trial_is_no_change(store: Store, study: Study, five: list[Trial]) -> None:
    after = five[-1].seq
    store.record_told(study.study_id, "9")
    store.request(study.study_id, "cancel", "9")
    store.finish_attempt(completed("9", study_id=study.study_id), TrialState.COMPLETED)
    assert store.trials_changed(study.study_id, after) == []


def test_the_log_is_read_in_pages_from_either_end(store: Store, study: Study, five: list[Trial]) -> None:
    log = store.events(study.study_id)
    assert len(log) == 6
    assert store.events(study.study_id, limit=2) == log[:2]
    assert store.events(study.study_id, log[1].seq, limit=3) == log[2:5]
    assert store.events(study.study_id, limit=2, newest_first=True) == log[:3:-1]
    assert store.events(study.study_id, log[2].seq, limit=9, newest_first=True) == log[1::-1]


def test_trials_are_counted_by_state(store: Store, study: Study, five: list[Trial]) -> None:
    store.start_attempt(five[0])
    for i, state in enumerate((TrialState.COMPLETED, TrialState.FAILED), start=1):
        store.start_attempt(five[i])
        store.finish_attempt(failed(five[i].trial_id, study_id=study.study_id), state)
    store.stop_trial(five[3], "enough")
    counts = {"waiting": 1, "running": 1, "completed": 1, "failed": 1, "stopped": 1}
    assert store.n_trials(study.study_id) == counts
    other = store.create_study(study_spec())
    store.add_trial(trial(study_id=other.study_id))
    nothing = dict.fromkeys(counts, 0)
    assert store.n_trials_of_all() == {study.study_id: counts, other.study_id: nothing | {"waiting": 1}}


def test_a_study_without_trials_has_none_in_any_state(store: Store, study: Study) -> None:
    assert set(store.n_trials(study.study_id).values()) == {0}
    assert store.n_trials_of_all() == {}


def test_studies_are_listed_from_either_end_and_by_state(store: Store) -> None:
    made = [store.create_study(study_spec()).study_id for _ in range(3)]
    store.set_study_state(made[1], StudyState.RUNNING)
    assert [s.study_id for s in store.studies(newest_first=True, limit=2)] == made[:0:-1]
    assert [s.study_id for s in store.studies(limit=2)] == made[:2]
    assert [s.study_id for s in store.studies(StudyState.RUNNING)] == [made[1]]


def test_requests_are_read_once_in_their_order(store: Store, study: Study, five: list[Trial]) -> None:
    assert store.requests(study.study_id) == []
    asked = [
        store.request(study.study_id, "pause"),
        store.request(study.study_id, "resume"),
        store.request(study.study_id, "cancel", "9"),
    ]
    assert store.requests(study.study_id) == asked
    assert [(r.kind, r.trial_id) for r in asked] == [("pause", None), ("resume", None), ("cancel", "9")]
    store.start_attempt(five[0])
    more = [store.request(study.study_id, "retry", "1"), store.request(study.study_id, "stop")]
    assert store.requests(study.study_id, asked[-1].seq) == more
    assert store.requests(study.study_id, more[-1].seq) == []


def test_requests_of_another_study_do_not_mix(store: Store, study: Study) -> None:
    other = store.create_study(study_spec())
    store.request(other.study_id, "stop")
    assert store.requests(study.study_id) == []


def test_a_coordinator_that_starts_again_goes_on_behind_what_was_answered(store: Store, study: Study) -> None:
    assert store.answered(study.study_id) == 0
    pause, resume, stop = (store.request(study.study_id, kind) for kind in ("pause", "resume", "stop"))
    store.answer(pause, "paused")
    store.answer(resume, "the study was not paused")
    assert store.answered(study.study_id) == resume.seq
    assert store.requests(study.study_id, store.answered(study.study_id)) == [stop]
    event = store.events(study.study_id)[-1]
    assert (event.kind, event.payload) == (
        "request_answered",
        {"request": resume.seq, "outcome": "the study was not paused"},
    )


def test_a_request_that_cannot_be_is_refused(store: Store, study: Study, five: list[Trial]) -> None:
    n = len(store.events(study.study_id))
    with pytest.raises(InputError, match="request must be pause, resume, stop, retry, cancel, got 'delete'"):
        store.request(study.study_id, "delete")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="trial_id must be given with retry and cancel alone, got None with cancel"):
        store.request(study.study_id, "cancel")
    with pytest.raises(InputError, match="trial_id must be given with retry and cancel alone, got 9 with pause"):
        store.request(study.study_id, "pause", "9")
    with pytest.raises(KeyError, match="no trial 'x'"):
        store.request(study.study_id, "cancel", "x")
    with pytest.raises(KeyError, match="no study 'x'"):
        store.request("x", "stop")
    assert len(store.events(study.study_id)) == n


def epoch(study: Study, number: int, attempt: int = 1, trial_id: str = "9", loss: float = 0.1) -> EpochMetrics:
    return EpochMetrics(
        study_id=study.study_id, trial_id=trial_id, attempt=attempt, epoch=number, training_loss=loss, seconds=1 / 3
    )


def test_epochs_are_read_by_attempt_and_epoch_however_they_came(store: Store, study: Study) -> None:
    told = [epoch(study, 2), epoch(study, 1, attempt=2), epoch(study, 10), epoch(study, 1, trial_id="10")]
    store.record_epochs(told[:3])
    store.record_epochs(told[3:])
    store.record_epochs([])
    assert store.epochs(study.study_id, "9") == [told[0], told[2], told[1]]
    assert store.epochs(study.study_id, "10") == told[3:]


def test_an_epoch_that_is_told_twice_is_kept_as_it_was_first_told(store: Store, study: Study) -> None:
    store.record_epochs([epoch(study, 1, loss=0.5), epoch(study, 1, loss=0.25)])
    store.record_epochs([epoch(study, 1, loss=0.125), epoch(study, 2)])
    assert store.epochs(study.study_id, "9") == [epoch(study, 1, loss=0.5), epoch(study, 2)]


def test_epochs_of_earlier_attempts_do_not_count_as_done(store: Store, study: Study, five: list[Trial]) -> None:
    first = store.start_attempt(five[0])
    store.record_epochs([epoch(study, n, trial_id=first.trial_id) for n in (1, 2, 3)])
    assert store.epochs_done([first]) == {first.trial_id: 3}
    again = first.model_copy(update={"attempt": 2})
    assert store.epochs_done([again]) == {}
    store.record_epochs([epoch(study, 1, attempt=2, trial_id=first.trial_id)])
    assert store.epochs_done([again, five[1]]) == {first.trial_id: 1}
    assert store.epochs_done([]) == {}


def test_epochs_are_no_events(store: Store, study: Study) -> None:
    store.record_epochs([epoch(study, 1)])
    assert [e.kind for e in store.events(study.study_id)] == ["study_created"]


def test_only_the_latest_snapshot_is_kept(store: Store, study: Study) -> None:
    assert store.latest_snapshot(study.study_id) is None
    store.save_snapshot(study.study_id, 5, b"\x00five")
    store.save_snapshot(study.study_id, 7, b"seven")
    store.save_snapshot(study.study_id, 6, b"six")
    latest = store.latest_snapshot(study.study_id)
    assert latest is not None
    assert (latest.seq, latest.data) == (7, b"seven")


def test_a_snapshot_is_written_with_the_trial_that_it_is_behind(store: Store, study: Study) -> None:
    store.add_trial(trial("1", study_id=study.study_id), snapshot=b"behind 1")
    latest = store.latest_snapshot(study.study_id)
    assert latest is not None
    assert (latest.seq, latest.data) == (store.trial(study.study_id, "1").seq, b"behind 1")
    with pytest.raises(Exception, match="already"):
        store.add_trial(trial("1", study_id=study.study_id), snapshot=b"behind nothing")
    assert store.latest_snapshot(study.study_id) == latest


def test_studies_come_in_pages_the_newest_first(store: Store) -> None:
    ids = [store.create_study(study_spec(name=name)).study_id for name in "abcde"]
    found: list[str] = []
    while page := store.studies_page(after=found[-1] if found else None, limit=2):
        found += [study.study_id for study in page]
    assert found == ids[::-1]


def test_studies_of_one_moment_are_all_on_some_page(store: Store) -> None:
    ids = {store.create_study(study_spec()).study_id for _ in range(5)}
    moment = store.studies()[0].created_at
    store.database.write(lambda c: c.execute(tables.studies.update().values(created_at=moment)))
    found: list[str] = []
    while page := store.studies_page(after=found[-1] if found else None, limit=2):
        found += [study.study_id for study in page]
    assert len(found) == 5 and set(found) == ids


def test_pages_of_studies_are_of_a_state_and_a_name(store: Store) -> None:
    one, other = (store.create_study(study_spec(name=name)) for name in ("one", "other"))
    store.set_study_state(other.study_id, StudyState.PAUSED)
    assert [s.study_id for s in store.studies_page(StudyState.PAUSED)] == [other.study_id]
    assert [s.study_id for s in store.studies_page(name="one")] == [one.study_id]
    assert store.studies_page(StudyState.PAUSED, name="one") == []
    with pytest.raises(KeyError, match="no study 'gone'"):
        store.studies_page(after="gone")


def test_trials_are_counted_of_the_studies_that_are_asked_for(store: Store, study: Study, add: AddTrial) -> None:
    add()
    other = store.create_study(study_spec())
    store.add_trial(trial("00001", study_id=other.study_id))
    assert store.n_trials_of_all().keys() == {study.study_id, other.study_id}
    assert store.n_trials_of_all([other.study_id]).keys() == {other.study_id}
    assert store.n_trials_of_all([]) == {}


def test_trials_that_changed_can_be_of_one_state(store: Store, study: Study, add: AddTrial) -> None:
    first, second = add("00001"), add("00002")
    store.start_attempt(first)
    running = store.trials_changed(study.study_id, second.seq, state=TrialState.RUNNING)
    assert [t.trial_id for t in running] == ["00001"]
    assert store.trials_changed(study.study_id, second.seq, state=TrialState.WAITING) == []
