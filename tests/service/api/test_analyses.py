"""The routes of analyses over a real store."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.schema import Study
from service.store import Store
from tests.service.fakes import completed
from tests.service.served import finish

ROUTES = ("history", "timeline", "rungs")


def get(http: TestClient, study: Study, route: str) -> Any:
    answer = http.get(f"/api/v1/studies/{study.study_id}/{route}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    return answer.json()


def test_the_history_ends_with_the_status_as_it_is(http: TestClient, store: Store, study: Study) -> None:
    found, status = get(http, study, "history"), get(http, study, "status")
    assert found["reference_point"] == status["reference_point"]
    assert [p["n_trials"] for p in found["points"]] == [2, 3, 5]
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


def test_the_rungs_are_those_of_the_search(http: TestClient, study: Study) -> None:
    assert get(http, study, "rungs") == {
        "rungs": [{"fidelity": 10.0, "n_waiting": 1, "n_running": 1, "n_completed": 3, "n_failed": 1, "n_promoted": 0}],
        "correlations": [],
    }


@pytest.mark.parametrize("route", ROUTES)
def test_a_study_that_is_not_there_has_no_analyses(http: TestClient, route: str) -> None:
    assert http.get(f"/api/v1/studies/none/{route}").status_code == 404
