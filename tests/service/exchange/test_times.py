from __future__ import annotations

from pathlib import Path

from service.exchange.times import times_of
from service.schema import StudyState, TrialState
from service.store import Store
from service.wire import Event
from tests.service.exchange.conftest import Told
from tests.service.fakes import completed, study_spec, trial
from tests.service.served import begin


def test_a_trial_lasts_from_its_start_to_its_end_whatever_comes_late(told: Told) -> None:
    times = times_of(told.log)
    for trial_id in ("00001", "00002"):
        assert times[trial_id] == (told.when("attempt_started", trial_id), told.when("attempt_finished", trial_id))
    assert times["00007"][1] == told.when("trial_stopped", "00007")
    assert "00008" not in times


def test_the_last_attempt_at_a_trial_counts_and_one_that_never_began_has_no_times(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite") as store:
        study = store.create_study(study_spec())
        store.set_study_state(study.study_id, StudyState.RUNNING)
        store.give_back(begin(store, study, "00001"), "its worker was lost")
        second = store.start_attempt(store.trial(study.study_id, "00001"))
        store.add_trial(trial("00002", study_id=study.study_id))
        for attempt in (second.attempt, second.attempt - 1):
            store.finish_attempt(completed("00001", study_id=study.study_id, attempt=attempt), TrialState.COMPLETED)
        log = [Event.model_validate(vars(event)) for event in store.events(study.study_id)]
    _, started = (event.at for event in log if event.kind == "attempt_started")
    (ended,) = (event.at for event in log if event.kind == "attempt_finished")
    assert times_of(log) == {"00001": (started, ended)}
