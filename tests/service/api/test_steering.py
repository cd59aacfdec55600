from __future__ import annotations

import threading

import pytest
from fastapi.testclient import TestClient

from service.coordinator import Coordinator
from service.optimizer import Optimizer
from service.schema import Budget, Study, StudyState, TrialState
from service.space import build_space
from service.store import Store
from tests.service.fakes import FACTS, N_LAYERS, FakeDispatcher, failed, study_spec
from tests.service.served import finish

ENDED = [StudyState.COMPLETED, StudyState.FAILED, StudyState.STOPPED]


def ask(http: TestClient, study: Study, what: str) -> tuple[int, str]:
    """The status and what was asked for, or why not."""
    answer = http.post(f"/api/v1/studies/{study.study_id}/{what}")
    document = answer.json()
    return answer.status_code, document.get("kind") or document["detail"]


@pytest.mark.parametrize("kind", ["pause", "resume", "stop"])
def test_a_request_is_written_down_and_its_number_told(http: TestClient, store: Store, study: Study, kind: str) -> None:
    answer = http.post(f"/api/v1/studies/{study.study_id}/{kind}")
    (request,) = store.requests(study.study_id)
    assert (answer.status_code, answer.json()) == (
        202,
        {"study_id": study.study_id, "seq": request.seq, "kind": kind, "trial_id": None},
    )
    assert store.study(study.study_id).state is StudyState.RUNNING


@pytest.mark.parametrize(("trial_id", "may_retry", "may_cancel"), [
    ("00001", False, False), ("00004", True, False), ("00005", False, True), ("00006", False, True)
])  # fmt: skip
def test_only_a_trial_in_the_right_state_is_tried_again_or_given_up(
    http: TestClient, study: Study, store: Store, trial_id: str, may_retry: bool, may_cancel: bool
) -> None:
    statuses = [ask(http, study, f"trials/{trial_id}/{kind}")[0] for kind in ("retry", "cancel")]
    assert statuses == [202 if may else 409 for may in (may_retry, may_cancel)]
    assert len(store.requests(study.study_id)) == may_retry + may_cancel


@pytest.mark.parametrize("state", ENDED)
def test_a_study_that_has_ended_is_neither_paused_nor_stopped(
    http: TestClient, store: Store, study: Study, state: StudyState
) -> None:
    store.set_study_state(study.study_id, state)
    why = f"study {study.study_id} must not have ended, it is {state}"
    assert (
        ask(http, study, "pause") == ask(http, study, "stop") == ask(http, study, "trials/00006/cancel") == (409, why)
    )
    assert store.requests(study.study_id) == []


@pytest.mark.parametrize("state", ENDED)
@pytest.mark.parametrize("what", ["resume", "trials/00004/retry"])
def test_a_study_that_has_ended_waits_for_a_coordinator_again(
    http: TestClient, store: Store, study: Study, state: StudyState, what: str
) -> None:
    store.set_study_state(study.study_id, state)
    assert ask(http, study, what)[0] == 202
    assert store.study(study.study_id).state is StudyState.WAITING
    assert [r.kind for r in store.requests(study.study_id)] == [what.split("/")[-1]]


def everything_done(store: Store, study: Study, **budget: float) -> Study:
    """The study with nothing left to do, which has spent as much of `budget` as there was."""
    store.stop_trial(store.trial(study.study_id, "00005"), "on purpose")
    store.stop_trial(store.trial(study.study_id, "00006"), "on purpose")
    spec = study.spec.model_copy(update={"budget": Budget.model_validate(budget)})
    return store.change_spec(study, spec)


@pytest.mark.parametrize("state", ENDED)
def test_a_resume_that_would_change_nothing_is_refused_with_what_would(
    http: TestClient, store: Store, study: Study, state: StudyState
) -> None:
    study = everything_done(store, study, n_trials=7)
    store.set_study_state(study.study_id, state, "the budget is spent" if state is StudyState.COMPLETED else "")
    status, said = ask(http, study, "resume")
    assert status == 409
    assert f"is {state} and resume would change nothing, because" in said and "budget is spent: retry a trial" in said
    assert said.endswith(f"with a larger budget (`warm_start: {study.study_id}` begins with the front of this one)")
    assert (store.study(study.study_id).state, store.requests(study.study_id)) == (state, [])
    assert ask(http, study, "trials/00004/retry") == (202, "retry")


def test_nobody_is_sent_to_the_front_of_a_study_of_which_nothing_completed(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec(budget={"n_trials": 1}))
    finish(store, study, failed("00001"))
    store.set_study_state(study.study_id, StudyState.FAILED)
    assert ask(http, study, "resume")[1].endswith(
        "its budget is spent: retry a trial that failed or was stopped, or submit another with a larger budget"
    )


def test_a_study_whose_space_is_exhausted_does_not_go_on(http: TestClient, store: Store, study: Study) -> None:
    everything_done(store, study, n_trials=100)
    store.set_study_state(study.study_id, StudyState.COMPLETED, "the space is exhausted")
    assert "because the space is exhausted" in ask(http, study, "resume")[1]
    store.set_study_state(study.study_id, StudyState.STOPPED, "stopped by the user")
    assert ask(http, study, "resume") == (202, "resume")


@pytest.mark.parametrize("what", ["resume", "trials/00004/retry"])
def test_no_trial_is_begun_of_a_study_whose_energy_is_spent(
    http: TestClient, store: Store, study: Study, what: str
) -> None:
    spec = study.spec.model_copy(update={"budget": Budget(energy_joules=20.0)})
    store.change_spec(study, spec)
    store.set_study_state(study.study_id, StudyState.COMPLETED, "the budget is spent")
    status, said = ask(http, study, what)
    assert status == 409
    assert "because its budget is spent: submit another with a larger budget" in said


def test_a_stop_that_came_too_late_does_not_stop_what_is_resumed(http: TestClient, store: Store, study: Study) -> None:
    assert ask(http, study, "stop") == (202, "stop")
    store.set_study_state(study.study_id, StudyState.COMPLETED)
    assert ask(http, study, "resume") == (202, "resume")
    waiting = store.requests(study.study_id, store.answered(study.study_id))
    assert [request.kind for request in waiting] == ["resume"]


def test_of_two_that_are_tried_again_at_once_none_is_forgotten(http: TestClient, store: Store, study: Study) -> None:
    store.finish_attempts([])
    store.stop_trial(store.trial(study.study_id, "00005"), "on purpose")
    store.set_study_state(study.study_id, StudyState.COMPLETED)
    threads = [
        threading.Thread(target=ask, args=(http, study, f"trials/{trial_id}/retry")) for trial_id in ("00004", "00005")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    waiting = store.requests(study.study_id, store.answered(study.study_id))
    assert {request.trial_id for request in waiting} == {"00004", "00005"}


def test_a_coordinator_does_what_was_asked_for_of_a_study_that_had_ended(
    http: TestClient, store: Store, study: Study
) -> None:
    store.stop_trial(store.trial(study.study_id, "00005"), "on purpose")
    store.stop_trial(store.trial(study.study_id, "00006"), "on purpose")
    store.set_study_state(study.study_id, StudyState.COMPLETED)
    assert ask(http, study, "trials/00004/retry") == (202, "retry")
    spec = study.spec.model_copy(update={"budget": study.spec.budget.model_copy(update={"n_trials": 1})})
    study = store.change_spec(study, spec)

    def make() -> Optimizer:
        return Optimizer(
            build_space(spec, N_LAYERS),
            objectives=dict(spec.objectives),
            fidelity=(1, 10),
            n_trials=1,
            n_workers=1,
            seed=0,
        )

    assert Coordinator(study, store, make, FakeDispatcher(), FACTS).run() is StudyState.COMPLETED
    retried = store.trial(study.study_id, "00004")
    assert (retried.state, retried.attempt) == (TrialState.COMPLETED, 2)
