from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.errors import ConflictError, ServiceError
from service.optimizer import Told
from service.schema import Budget, Study, StudyState, TrialState
from service.store import Store
from service.store.log import RequestKind
from tests.service.fakes import completed, failed, study_spec, trial
from tests.service.store.conftest import AddTrial

SPEC = study_spec()


def test_a_study_is_read_as_it_was_created(store: Store, study: Study) -> None:
    assert store.study(study.study_id) == study
    assert (study.state, study.spec) == (StudyState.WAITING, SPEC)


def test_studies_come_oldest_first(store: Store) -> None:
    ids = [store.create_study(SPEC).study_id for _ in range(5)]
    assert [s.study_id for s in store.studies()] == ids


def test_the_objectives_of_a_study_keep_their_order(store: Store) -> None:
    spec = study_spec(objectives={"energy": "minimize", "error": "minimize"})
    read = store.study(store.create_study(spec).study_id)
    assert list(read.spec.objectives) == ["energy", "error"]


def test_a_studys_state_changes_with_its_reason_in_the_log(store: Store, study: Study) -> None:
    store.set_study_state(study.study_id, StudyState.STOPPED, "enough")
    assert store.study(study.study_id).state is StudyState.STOPPED
    event = store.events(study.study_id)[-1]
    assert (event.kind, event.payload) == ("study_stopped", {"reason": "enough"})


def test_a_new_budget_replaces_the_old_one_and_nothing_else(store: Store, study: Study) -> None:
    changed = store.change_spec(study, study.spec.model_copy(update={"budget": Budget(wall_seconds=60)}))
    assert changed == store.study(study.study_id)
    assert changed.spec == SPEC.model_copy(update={"budget": Budget(wall_seconds=60)})


def test_a_trial_is_read_as_it_was_added(store: Store, study: Study) -> None:
    added = trial("00001", study_id=study.study_id, fidelity=10 / 3, promoted_from="00000", is_default=True)
    store.add_trial(added)
    read = store.trial(study.study_id, "00001")
    assert read == added.model_copy(update={"seq": read.seq})
    assert read.seq == store.events(study.study_id)[-1].seq


def test_trials_come_in_the_order_in_which_they_were_added(store: Store, study: Study, add: AddTrial) -> None:
    order = ["default", "00002", "00001", "100000", "99999"]
    for trial_id in order:
        add(trial_id)
    assert [t.trial_id for t in store.trials(study.study_id)] == order


def test_a_trial_that_changed_keeps_its_place(store: Store, study: Study, add: AddTrial) -> None:
    first, _ = add("00001"), add("00002")
    store.start_attempt(first)
    assert [t.trial_id for t in store.trials(study.study_id)] == ["00001", "00002"]


def test_trials_can_be_asked_for_by_state(store: Store, study: Study, add: AddTrial) -> None:
    add("00001")
    store.start_attempt(add("00002"))
    assert [t.trial_id for t in store.trials(study.study_id, TrialState.RUNNING)] == ["00002"]


def test_trials_of_another_study_do_not_mix(store: Store, study: Study, add: AddTrial) -> None:
    add("00001")
    other = store.create_study(SPEC)
    store.add_trial(trial("00001", study_id=other.study_id, seed=7))
    assert [t.seed for t in store.trials(other.study_id)] == [7]
    assert [e.kind for e in store.events(other.study_id)] == ["study_created", "trial_added"]


def test_an_attempt_is_running_under_the_next_number(store: Store, add: AddTrial) -> None:
    running = store.start_attempt(add())
    assert (running.state, running.attempt) == (TrialState.RUNNING, 1)


def test_an_attempt_is_finished_with_its_result(store: Store, study: Study, add: AddTrial) -> None:
    store.start_attempt(add())
    result = completed("00001", study_id=study.study_id, error=0.25)
    assert store.finish_attempt(result, TrialState.COMPLETED) is True
    finished = store.trial(study.study_id, "00001")
    assert (finished.state, finished.result) == (TrialState.COMPLETED, result)


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_second_result_is_logged_and_changes_nothing(store: Store, study: Study, add: AddTrial, attempt: int) -> None:
    store.start_attempt(add())
    store.finish_attempt(completed("00001", study_id=study.study_id, error=0.25), TrialState.COMPLETED)
    before = store.trial(study.study_id, "00001")
    late = completed("00001", attempt, study_id=study.study_id, error=0.75)
    assert store.finish_attempt(late, TrialState.COMPLETED) is False
    assert store.trial(study.study_id, "00001") == before
    event = store.events(study.study_id)[-1]
    assert (event.kind, event.trial_id) == ("late_result", "00001")
    assert event.payload["result"] == late.model_dump(mode="json")


def test_the_result_of_an_earlier_attempt_is_late(store: Store, study: Study, add: AddTrial) -> None:
    first = store.start_attempt(add())
    store.give_back(first, "lost")
    second = store.start_attempt(store.trial(study.study_id, "00001"))
    late = completed("00001", 1, study_id=study.study_id, error=0.25)
    assert store.finish_attempt(late, TrialState.COMPLETED) is False
    assert store.trial(study.study_id, "00001") == second


def test_results_that_come_together_are_accepted_once_each(store: Store, study: Study, add: AddTrial) -> None:
    other = store.create_study(SPEC)
    store.add_trial(trial("1", study_id=other.study_id))
    for running in (add("1"), add("2"), store.trial(other.study_id, "1")):
        store.start_attempt(running)
    one, two, three = (
        completed(name, study_id=s.study_id, error=0.25) for name, s in (("1", study), ("2", study), ("1", other))
    )
    done = TrialState.COMPLETED
    finished = store.finish_attempts([(one, done), (two, TrialState.FAILED), (one, done), (three, done)])
    assert [(t.state, t.result) for t in store.trials(study.study_id)] == [(done, one), (TrialState.FAILED, two)]
    assert store.trial(other.study_id, "1").result == three
    assert finished == [*store.trials(study.study_id), None, store.trial(other.study_id, "1")]
    assert [e.kind for e in store.events(study.study_id)][-3:] == [
        "attempt_finished",
        "attempt_finished",
        "late_result",
    ]
    assert store.finish_attempts([]) == []


def test_attempts_that_start_together_do_so_all_or_none(store: Store, study: Study, add: AddTrial) -> None:
    one, two, three = add("1"), add("2"), add("3")
    assert store.start_attempts([two, one]) == [store.trial(study.study_id, "2"), store.trial(study.study_id, "1")]
    assert store.n_trials(study.study_id)["running"] == 2
    with pytest.raises(ServiceError, match="trial 1 is RUNNING at attempt 1, not WAITING at 0"):
        store.start_attempts([three, one])
    assert store.trial(study.study_id, "3") == three
    assert store.start_attempts([]) == []


def test_what_was_told_and_what_was_suggested_are_recorded_together_or_not_at_all(
    store: Store, study: Study, add: AddTrial
) -> None:
    add("1")
    told = [Told("1", {"error": 0.5}), Told("2", None, "diverged")]
    one, three, four, five = (trial(name, study_id=study.study_id) for name in "1345")
    store.record_asked(study.study_id, told, [three, four], b"behind 4")
    n_events = len(store.events(study.study_id))
    with pytest.raises(ServiceError, match="has a trial 1 already"):
        store.record_asked(study.study_id, told, [five, one], b"never")
    store.record_asked(study.study_id, told[:1])
    log = store.events(study.study_id)
    assert [(e.kind, e.trial_id) for e in log[n_events - 4 :]] == [
        ("trial_told", "1"),
        ("trial_told", "2"),
        ("trial_added", "3"),
        ("trial_added", "4"),
        ("trial_told", "1"),
    ]
    assert log[n_events - 3].payload == {"objectives": None, "failure": "diverged", "cost": None}
    snapshot = store.latest_snapshot(study.study_id)
    assert snapshot is not None
    assert (snapshot.seq, snapshot.data) == (log[n_events - 1].seq, b"behind 4")


def test_a_failed_attempt_may_wait_for_the_next(store: Store, study: Study, add: AddTrial) -> None:
    store.start_attempt(add())
    lost = failed("00001", kind="worker_lost", study_id=study.study_id)
    assert store.finish_attempt(lost, TrialState.WAITING) is True
    waiting = store.trial(study.study_id, "00001")
    assert (waiting.state, waiting.attempt) == (TrialState.WAITING, 1)
    assert store.start_attempt(waiting).attempt == 2


def test_a_trial_given_back_waits_again(store: Store, study: Study, add: AddTrial) -> None:
    store.give_back(store.start_attempt(add()), "stopped")
    assert store.trial(study.study_id, "00001").state is TrialState.WAITING
    event = store.events(study.study_id)[-1]
    assert (event.kind, event.payload) == ("attempt_abandoned", {"attempt": 1, "reason": "stopped"})


@pytest.mark.parametrize("is_running", [False, True])
def test_a_trial_that_waits_or_runs_can_be_stopped(store: Store, study: Study, add: AddTrial, is_running: bool) -> None:
    trial = store.start_attempt(add()) if is_running else add()
    stopped = store.stop_trial(trial, "enough")
    assert stopped == store.trial(study.study_id, "00001")
    assert (stopped.state, stopped.attempt) == (TrialState.STOPPED, int(is_running))
    event = store.events(study.study_id)[-1]
    assert (event.seq, event.kind, event.payload) == (stopped.seq, "trial_stopped", {"reason": "enough"})


def test_the_result_of_a_stopped_trial_is_late(store: Store, study: Study, add: AddTrial) -> None:
    stopped = store.stop_trial(store.start_attempt(add()), "enough")
    assert store.finish_attempt(completed("00001", study_id=study.study_id), TrialState.COMPLETED) is False
    assert store.trial(study.study_id, "00001") == stopped


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.STOPPED])
def test_a_trial_that_failed_or_was_stopped_can_be_tried_again(
    store: Store, study: Study, add: AddTrial, state: TrialState
) -> None:
    store.start_attempt(add())
    store.finish_attempt(failed("00001", study_id=study.study_id), state)
    waiting = store.retry_trial(store.trial(study.study_id, "00001"), "as asked")
    assert waiting == store.trial(study.study_id, "00001")
    assert (waiting.state, waiting.attempt) == (TrialState.WAITING, 1)
    assert store.start_attempt(waiting).attempt == 2


def test_a_change_of_a_trial_that_something_else_has_changed_is_refused(
    store: Store, study: Study, add: AddTrial
) -> None:
    waiting = add()
    running = store.start_attempt(waiting)
    before = store.events(study.study_id)
    with pytest.raises(ServiceError, match="trial 00001 is RUNNING at attempt 1, not WAITING at 0: something else"):
        store.start_attempt(waiting)
    with pytest.raises(ServiceError, match="is RUNNING at attempt 1, not FAILED or STOPPED at 1"):
        store.retry_trial(running, "again")
    store.finish_attempt(completed("00001", study_id=study.study_id), TrialState.COMPLETED)
    with pytest.raises(ServiceError, match="is COMPLETED at attempt 1, not RUNNING at 1"):
        store.give_back(running, "lost")
    with pytest.raises(ServiceError, match="is COMPLETED at attempt 1, not WAITING or RUNNING at 1"):
        store.stop_trial(running, "enough")
    assert len(store.events(study.study_id)) == len(before) + 1


def test_a_new_trial_must_wait_at_attempt_0(store: Store, study: Study) -> None:
    with pytest.raises(ValueError, match="must be WAITING at attempt 0, got RUNNING at 1"):
        store.add_trial(trial(study_id=study.study_id, state=TrialState.RUNNING, attempt=1))


def test_a_finished_attempt_leaves_no_running_trial(store: Store, study: Study, add: AddTrial) -> None:
    store.start_attempt(add())
    with pytest.raises(ValueError, match="cannot leave its trial RUNNING"):
        store.finish_attempt(completed("00001", study_id=study.study_id), TrialState.RUNNING)


def test_final_results_are_read_by_trial_and_seed(store: Store, study: Study, add: AddTrial) -> None:
    add()
    results = {("00001", seed): completed("00001", study_id=study.study_id, error=seed / 10) for seed in (3, 4)}
    for (trial_id, seed), result in results.items():
        store.record_final(study.study_id, trial_id, seed, result)
    assert store.final_results(study.study_id) == results


def test_the_log_only_grows(store: Store, study: Study, add: AddTrial) -> None:
    logs = [store.events(study.study_id)]
    running = store.start_attempt(add())
    logs.append(store.events(study.study_id))
    store.give_back(running, "stopped")
    store.record_told(study.study_id, "00001")
    logs.append(store.events(study.study_id))
    assert logs[1][: len(logs[0])] == logs[0]
    assert logs[2][: len(logs[1])] == logs[1]
    assert [e.kind for e in logs[2]] == [
        "study_created",
        "trial_added",
        "attempt_started",
        "attempt_abandoned",
        "trial_told",
    ]
    seqs = [e.seq for e in logs[2]]
    assert seqs == sorted(set(seqs))
    assert all(e.at.tzinfo is not None for e in logs[2])


def test_only_events_after_a_number_are_read(store: Store, study: Study, add: AddTrial) -> None:
    add("00001")
    last = store.events(study.study_id)[-1].seq
    add("00002")
    assert [e.trial_id for e in store.events(study.study_id, after=last)] == ["00002"]
    assert store.events(study.study_id, after=last + 1) == []


def test_a_trial_carries_the_number_of_its_last_event(store: Store, study: Study, add: AddTrial) -> None:
    running = store.start_attempt(add())
    assert running.seq == store.events(study.study_id)[-1].seq


def test_an_unknown_study_is_a_key_error(store: Store) -> None:
    with pytest.raises(KeyError, match="no study 'x'"):
        store.study("x")
    with pytest.raises(KeyError, match="no study 'x'"):
        store.set_study_state("x", StudyState.RUNNING)
    with pytest.raises(KeyError, match="no study 'x'"):
        store.add_trial(trial(study_id="x"))
    assert store.events("x") == []


def test_an_unknown_trial_is_a_key_error(store: Store, study: Study) -> None:
    with pytest.raises(KeyError, match="no trial 'x'"):
        store.trial(study.study_id, "x")
    with pytest.raises(KeyError, match="no trial 'x'"):
        store.finish_attempt(completed("x", study_id=study.study_id), TrialState.COMPLETED)


def test_an_event_and_its_projection_come_together_or_not_at_all(store: Store, study: Study, add: AddTrial) -> None:
    add("00001")
    before = store.events(study.study_id)
    with pytest.raises(ServiceError, match="has a trial 00001 already"):
        add("00001")
    assert store.events(study.study_id) == before


def test_a_file_is_read_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as writer, Store(path) as reader:
        study = writer.create_study(SPEC)
        seen = []
        for i in range(20):
            writer.add_trial(trial(f"{i:05d}", study_id=study.study_id))
            seen.append(len(reader.trials(study.study_id)))
        assert seen == list(range(1, 21))


def test_a_file_keeps_everything_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path) as store:
        study = store.create_study(SPEC)
        store.add_trial(trial(study_id=study.study_id))
        log, trials = store.events(study.study_id), store.trials(study.study_id)
    with Store(path) as store:
        assert (store.studies(), store.trials(study.study_id), store.events(study.study_id)) == ([study], trials, log)


def test_a_study_of_an_id_is_created_once(store: Store) -> None:
    first = store.create_study(study_spec(), "mine")
    store.set_study_state("mine", StudyState.RUNNING)
    again = store.create_study(study_spec(), "mine")
    assert again == first.model_copy(update={"state": StudyState.RUNNING})
    assert [event.kind for event in store.events("mine")] == ["study_created", "study_running"]


def test_an_id_is_not_for_another_study_whatever_became_of_the_first(store: Store) -> None:
    first = store.create_study(study_spec(), "mine")
    changed = store.change_spec(first, study_spec(seed=5))
    assert store.create_study(study_spec(), "mine") == changed
    with pytest.raises(ConflictError, match="study mine is there already, created from another spec"):
        store.create_study(study_spec(seed=5), "mine")
    assert len(store.studies()) == 1


@pytest.mark.parametrize("where", ["file", "postgresql"])
def test_of_many_who_create_a_study_of_one_id_at_once_all_get_the_same(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = tmp_path / "s.sqlite" if where == "file" else request.getfixturevalue("postgresql_url")
    with Store(database) as store, ThreadPoolExecutor(8) as pool:
        studies = list(pool.map(lambda _: store.create_study(study_spec(), "mine"), range(24)))
        assert studies == [store.study("mine")] * 24
        assert len(store.events("mine")) == 1


@pytest.mark.parametrize(
    ("asked", "state", "left"),
    [
        ([], StudyState.COMPLETED, []),
        (["stop", "pause", "cancel"], StudyState.COMPLETED, ["stop", "pause", "cancel"]),
        (["retry"], StudyState.WAITING, ["retry"]),
        (["resume"], StudyState.WAITING, ["resume"]),
        # A stop that came too late must not stop what goes on, and one that came after it must.
        (["stop", "retry", "stop"], StudyState.WAITING, ["retry", "stop"]),
    ],
)
def test_a_study_ends_or_waits_again_by_what_was_asked_before(
    store: Store, study: Study, add: AddTrial, asked: list[RequestKind], state: StudyState, left: list[str]
) -> None:
    store.stop_trial(add(), "on purpose")
    heeded = store.request(study.study_id, "resume")
    store.answer(heeded, "done")
    for kind in asked:
        store.request(study.study_id, kind, "00001" if kind in ("retry", "cancel") else None)
    ended = store.end_study(study.study_id, StudyState.COMPLETED, "the budget is spent", heeded.seq)
    assert ended is store.study(study.study_id).state is state
    assert [r.kind for r in store.requests(study.study_id, store.answered(study.study_id))] == left
    kinds = [e.kind for e in store.events(study.study_id) if e.kind.startswith("study_")]
    assert kinds == ["study_created", "study_completed"] + ["study_waiting"] * (state is StudyState.WAITING)
