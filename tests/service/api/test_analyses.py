"""The routes of analyses over a real store."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.schema import Study, StudyState
from service.store import Store
from tests.service.fakes import completed, study_spec
from tests.service.served import finish
from worker.schema import LayerSummary

ROUTES = ("history", "timeline", "rungs", "importance", "payback")


def get(http: TestClient, study: Study, route: str) -> Any:
    answer = http.get(f"/api/v1/studies/{study.study_id}/{route}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    return answer.json()


def test_the_history_ends_with_the_status_as_it_is(http: TestClient, store: Store, study: Study) -> None:
    found, status = get(http, study, "history"), get(http, study, "status")
    assert found["reference_point"] == status["reference_point"]
    assert [p["n_trials"] for p in found["points"]] == [1, 2, 4]
    # A failure of which no energy is known came behind both.
    assert [p["joules"] for p in found["points"]] == [10.0, 15.0, None]
    assert found["points"][-1]["hypervolume"] == status["hypervolume"]
    finish(store, study, completed("00007", error=0.01, deployment_energy=1.0))
    assert len(get(http, study, "history")["points"]) == 4


def test_the_timeline_tells_every_attempt_and_what_is_new(http: TestClient, store: Store, study: Study) -> None:
    found = get(http, study, "timeline")
    assert [(a["trial_id"], a["state"], a["worker"], a["failure"]) for a in found["attempts"]] == [
        ("default", "COMPLETED", "fake:1", None),
        ("00001", "COMPLETED", "fake:1", None),
        ("00002", "COMPLETED", "fake:1", None),
        ("00003", "COMPLETED", "fake:1", None),
        ("00004", "FAILED", "fake:1", "diverged"),
        ("00005", "RUNNING", None, None),
    ]
    (worker,) = found["workers"]
    assert (worker["worker"], worker["n_attempts"], worker["n_failed"]) == ("fake:1", 5, 1)
    finish(store, study, completed("00007", error=0.01, deployment_energy=1.0))
    assert get(http, study, "timeline")["attempts"][-1]["trial_id"] == "00007"


def test_of_the_timeline_the_newest_attempts_can_be_asked_for(http: TestClient, study: Study) -> None:
    whole, found = get(http, study, "timeline"), get(http, study, "timeline?last=2")
    assert found == whole | {"attempts": whole["attempts"][-2:]}
    assert get(http, study, "timeline?last=100000") == whole
    assert http.get(f"/api/v1/studies/{study.study_id}/timeline?last=0").status_code == 422


def test_the_rungs_are_those_of_the_search(http: TestClient, study: Study) -> None:
    assert get(http, study, "rungs") == {
        "rungs": [
            {
                "fidelity": 10.0,
                "n_waiting": 1,
                "n_running": 1,
                "n_completed": 3,
                "n_failed": 1,
                "n_stopped": 0,
                "n_promoted": 0,
            }
        ],
        "correlations": [],
    }


def test_importance_says_why_there_is_none_and_is_there_with_the_twentieth_trial(
    http: TestClient, store: Store, study: Study
) -> None:
    assert get(http, study, "importance")["objectives"]["error"]["reason"].startswith("needs 20 completed trials")
    for i in range(20):
        config = {"rate": i / 20, "kind": "ab"[i % 2]}
        finish(store, study, completed(f"{i + 100:05}", error=i / 20, deployment_energy=1.0), config=config)
    found = get(http, study, "importance")["objectives"]
    assert found["error"]["n_trials"] == 23 and found["error"]["parameters"][0]["name"] == "rate"


def test_importance_is_worked_out_again_with_a_twentieth_of_new_trials_and_at_the_end(
    http: TestClient, store: Store, study: Study
) -> None:
    def n_used_after(first: int, last: int) -> int:
        for number in range(first, last + 1):
            result = completed(f"{number:05}", error=number / 99, deployment_energy=1.0)
            finish(store, study, result, config={"a": number})
        return int(get(http, study, "importance")["objectives"]["error"]["n_trials"])

    assert (n_used_after(41, 100), n_used_after(101, 102), n_used_after(103, 103)) == (63, 63, 66)
    assert n_used_after(104, 104) == 66
    store.set_study_state(study.study_id, StudyState.STOPPED)
    assert get(http, study, "importance")["objectives"]["error"]["n_trials"] == 67


def test_payback_sets_what_was_spent_against_what_is_saved(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec())
    finish(store, study, completed("default", error=0.3, deployment_energy=9.0), is_default=True)
    finish(store, study, completed("00001", error=0.1, deployment_energy=4.0))
    assert get(http, study, "payback") == {
        "search_joules": 10.0,
        "search_method": "codecarbon",
        "search_quality": "estimated",
        "by_cause": {"completed": 10.0},
        "default_joules": 9.0,
        "networks": [
            {
                "trial_id": "00001",
                "joules_per_inference": 4.0,
                "saved_joules_per_inference": 5.0,
                "n_inferences_to_pay": 2,
            }
        ],
        "method": "analytic",
        "quality": "estimated",
    }


def test_the_layers_of_a_trial_are_those_of_its_result_and_lists_leave_them_out(
    http: TestClient, store: Store, study: Study
) -> None:
    layer = LayerSummary(name="fc", n_weights=5, n_zeros=1, exponents={-3: 3, 0: 1}, is_shift=True, weight_bits=4)
    result = completed("00007", error=0.05, deployment_energy=1.0).model_copy(update={"layers": (layer,)})
    finish(store, study, result)
    expected = {
        "name": "fc",
        "n_weights": 5,
        "n_zeros": 1,
        "exponents": {"-3": 3, "0": 1},
        "is_shift": True,
        "weight_bits": 4,
    }
    assert get(http, study, "trials/00007/layers") == {"layers": [expected]}
    assert get(http, study, "trials/00007")["result"]["layers"] == [expected]
    assert get(http, study, "trials/00001/layers") == get(http, study, "trials/00005/layers") == {"layers": []}
    assert [trial["result"]["layers"] for trial in get(http, study, "front")] == [[]]
    newest = get(http, study, "trials")["items"][-1]
    assert (newest["trial_id"], newest["result"]["layers"]) == ("00007", [])


@pytest.mark.parametrize("route", ROUTES)
def test_a_study_that_is_not_there_has_no_analyses(http: TestClient, route: str) -> None:
    assert http.get(f"/api/v1/studies/none/{route}").status_code == 404
