from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.schema import Study, Trial, TrialState
from service.store import Store
from tests.service.fakes import completed
from tests.service.served import finish

BIG = 2**63 - 1


@pytest.fixture
def path(study: Study) -> str:
    return f"/api/v1/studies/{study.study_id}/trials"


def test_trials_are_shown_as_the_store_has_them(http: TestClient, store: Store, study: Study, path: str) -> None:
    for trial in store.trials(study.study_id):
        assert Trial.model_validate(http.get(f"{path}/{trial.trial_id}").json()) == trial


def test_all_trials_come_in_pages_and_then_only_what_is_new(
    http: TestClient, store: Store, study: Study, path: str
) -> None:
    seen, after, n_pages = [], 0, 0
    while after is not None:
        page = http.get(path, params={"after": after, "limit": 3}).json()
        seen += page["items"]
        after, n_pages = page["next"], n_pages + 1
    assert n_pages == 3
    assert [t["trial_id"] for t in seen] == ["default", "00001", "00002", "00003", "00004", "00005", "00006"]
    last = seen[-1]["seq"]
    assert http.get(path, params={"after": last}).json() == {"items": [], "next": None}
    store.finish_attempt(
        completed("00005", study_id=study.study_id, error=0.1, deployment_energy=1.0), TrialState.COMPLETED
    )
    finish(store, study, completed("00007", error=0.1, deployment_energy=1.0))
    new = http.get(path, params={"after": last}).json()["items"]
    assert [(t["trial_id"], t["state"]) for t in new] == [("00005", "COMPLETED"), ("00007", "COMPLETED")]


@pytest.mark.parametrize(
    ("state", "names"), [("FAILED", ["00004"]), ("RUNNING", ["00005"]), ("WAITING", ["00006"]), ("STOPPED", [])]
)
def test_trials_are_listed_by_state(http: TestClient, path: str, state: str, names: list[str]) -> None:
    assert [t["trial_id"] for t in http.get(path, params={"state": state}).json()["items"]] == names


def test_a_number_that_no_event_has_yet_is_no_error_and_one_that_none_can_have_is(http: TestClient, path: str) -> None:
    assert http.get(path, params={"after": BIG}).json() == {"items": [], "next": None}
    assert http.get(path, params={"after": BIG + 1}).status_code == 422


def test_a_failed_trial_says_why(http: TestClient, path: str) -> None:
    trial = http.get(f"{path}/00004").json()
    assert trial["result"]["failure"]["kind"] == "diverged" and trial["result"]["objectives"] == {}


def test_epochs_come_while_the_trial_runs(http: TestClient, path: str) -> None:
    assert http.get(f"{path}/00005/epochs").json() == [
        {"attempt": 1, "epoch": n, "training_loss": 1 / n, "seconds": 2.0} for n in (1, 2, 3)
    ]
    assert http.get(f"{path}/00006/epochs").json() == []
