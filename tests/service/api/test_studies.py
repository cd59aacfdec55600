from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.schema import Study, StudySpec, StudyState
from service.store import Store, Tokens
from tests.service.fakes import completed, study_document, study_spec
from tests.service.served import finish

STUDIES = "/api/v1/studies"


def test_a_submitted_study_waits_in_the_store_as_it_was_sent(http: TestClient, store: Store) -> None:
    answer = http.post(STUDIES, json=study_document(seed=7))
    (study,) = store.studies()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"{STUDIES}/{study.study_id}"
    assert (study.spec, study.state) == (study_spec(seed=7), StudyState.WAITING)
    assert {k: v for k, v in answer.json().items() if k != "spec"} == {
        "study_id": study.study_id,
        "name": "toy",
        "state": "WAITING",
        "created_at": study.created_at.isoformat().replace("+00:00", "Z"),
        "n_trials": {"waiting": 0, "running": 0, "completed": 0, "failed": 0, "stopped": 0},
        "reason": None,
    }


@pytest.mark.parametrize("name", ["digits", "paper-2026"])
def test_the_spec_that_is_shown_can_be_submitted(http: TestClient, store: Store, name: str) -> None:
    presets = {preset["name"]: preset["spec"] for preset in http.get("/api/v1/presets").json()}
    first = http.post(STUDIES, json=presets[name]).json()
    again = http.post(STUDIES, json=http.get(f"{STUDIES}/{first['study_id']}").json()["spec"]).json()
    assert store.study(again["study_id"]).spec == StudySpec.load(name)


def test_a_study_of_a_task_leaves_to_it_what_it_did_not_say(http: TestClient, store: Store) -> None:
    document = {"name": "mine", "task": "valley", "budget": {"n_trials": 5}}
    study_id = http.post(STUDIES, json=document).json()["study_id"]
    assert store.study(study_id).spec.gaps == {"space", "objectives", "fidelity"}
    assert "space" not in http.get(f"{STUDIES}/{study_id}").json()["spec"]


def test_every_fault_is_a_line_with_key_value_and_what_is_allowed(http: TestClient, store: Store) -> None:
    answer = http.post(STUDIES, json=study_document(seed=-1, budget={"n_trials": 0}, colour="red"))
    assert answer.status_code == 422
    lines = answer.json()["detail"].splitlines()
    assert lines[0] == "budget.n_trials: must be at least 1, got 0"
    assert lines[1] == "seed: must be at least 0, got -1"
    assert lines[2].startswith("colour: unknown key; allowed are name, task, dataset,")
    assert store.studies() == []


def test_hyperparameters_that_are_none_are_refused_at_once(http: TestClient, store: Store) -> None:
    answer = http.post(STUDIES, json=study_document(ranges={"weight_bit": [2, 3]}))
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(
        "ranges.weight_bit: no number that is searched (did you mean weight_bits?); allowed are activation_"
    )
    assert store.studies() == []


def test_a_long_value_is_not_sent_back_whole(http: TestClient) -> None:
    detail = http.post(STUDIES, json=study_document(optimizer="x" * 100_000)).json()["detail"]
    assert detail.startswith("optimizer: must be 'greenshift'") and len(detail) <= 300


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"", 422, "body: missing"),
        (b"[]", 422, "body: must be a mapping of keys to values, got []"),
        (b"{", 422, "body: must be JSON: Expecting property name enclosed in double quotes"),
        (b'{"seed": ' + b"1" * 5000 + b"}", 400, "There was an error parsing the body"),
        (b" " * 1_000_001, 413, "body: must have at most 1000000 bytes"),
    ],
)
def test_what_is_no_study_is_refused(http: TestClient, content: bytes, status: int, detail: str) -> None:
    answer = http.post(STUDIES, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_a_body_that_does_not_say_how_long_it_is_is_read_no_further_than_allowed(http: TestClient) -> None:
    n_read = 0

    def body() -> Any:
        nonlocal n_read
        for _ in range(100):
            n_read += 1
            yield b" " * 100_000

    answer = http.post(STUDIES, content=body(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"detail": "body: must have at most 1000000 bytes"})


def test_the_same_key_sent_again_is_the_same_study(http: TestClient, store: Store) -> None:
    first, again = (http.post(STUDIES, json=study_document(), headers={"Idempotency-Key": "mine"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(store.studies()) == 1
    assert len(store.events(first.json()["study_id"])) == 1


def test_a_key_is_not_for_another_study_and_every_caller_has_their_own(store: Store) -> None:
    http = TestClient(create_app(store, require_token=True))
    one, other = ({"Authorization": f"Bearer {Tokens(store).create_token(name)}"} for name in ("one", "other"))
    key = {"Idempotency-Key": "1"}
    assert http.post(STUDIES, json=study_document(), headers=one | key).status_code == 201
    refused = http.post(STUDIES, json=study_document(seed=1), headers=one | key)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "Idempotency-Key: must be new, because another study was sent with it",
    )
    assert http.post(STUDIES, json=study_document(seed=1), headers=other | key).status_code == 201
    assert len(store.studies()) == 2


def test_studies_are_listed_in_pages_the_newest_first(http: TestClient, store: Store) -> None:
    ids = [store.create_study(study_spec(name=name)).study_id for name in "abcde"]
    found, after = [], {}
    while after is not None:
        page = http.get(STUDIES, params={"limit": 2} | after).json()
        assert len(page["items"]) <= 2
        found += [item["study_id"] for item in page["items"]]
        after = None if page["next"] is None else {"after": page["next"]}
    assert found == ids[::-1]


def test_studies_are_listed_by_state_and_by_name(http: TestClient, store: Store, study: Study) -> None:
    waiting = store.create_study(study_spec(name="waiting"))

    def ids(**params: str) -> list[str]:
        return [item["study_id"] for item in http.get(STUDIES, params=params).json()["items"]]

    assert (ids(state="RUNNING"), ids(name="waiting")) == ([study.study_id], [waiting.study_id])
    assert ids(state="RUNNING", name="waiting") == []


@pytest.mark.parametrize(
    ("params", "detail"),
    [
        ({"limit": 0}, "limit: must be at least 1, got '0'"),
        ({"limit": 1001}, "limit: must be at most 1000, got '1001'"),
        ({"limt": 1}, "limt: no such parameter"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(http: TestClient, params: dict[str, int], detail: str) -> None:
    answer = http.get(STUDIES, params=params)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_what_is_not_there_is_said_with_its_key(http: TestClient, study: Study) -> None:
    for path, detail in [
        ("/abc", "study_id: there is no study 'abc'"),
        (f"/{study.study_id}/trials/abc", f"trial_id: study {study.study_id} has no trial 'abc'"),
        ("?after=abc", "after: there is no study 'abc'"),
    ]:
        answer = http.get(f"{STUDIES}{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": detail})


def test_the_status_is_what_contracts_say_and_what_can_be_worked_out_by_hand(http: TestClient, study: Study) -> None:
    # Costs (0.1, 4), (0.2, 2), (0.4, 4): the reference lies a tenth of the ranges 0.3 and 2 beyond 0.4 and 4.
    status = http.get(f"{STUDIES}/{study.study_id}/status").json()
    assert status == {
        "study_id": study.study_id,
        "state": "RUNNING",
        "n_trials": {"waiting": 1, "running": 1, "completed": 4, "failed": 1, "stopped": 0},
        "hypervolume": pytest.approx((0.43 - 0.1) * (4.2 - 4) + (0.43 - 0.2) * (4 - 2)),
        "reference_point": {"error": pytest.approx(0.43), "deployment_energy": pytest.approx(4.2)},
        "energy_joules": 20.0,
        "energy_joules_by_quality": {"estimated": 20.0},
        "reason": None,
    }


def test_what_is_unknown_is_null_and_not_zero(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec())
    status = http.get(f"{STUDIES}/{study.study_id}/status").json()
    assert [status[key] for key in ("hypervolume", "reference_point", "energy_joules")] == [None] * 3
    finish(store, study, completed("00001", joules=None, error=0.1, deployment_energy=1.0))
    status = http.get(f"{STUDIES}/{study.study_id}/status").json()
    assert (status["energy_joules"], status["energy_joules_by_quality"]) == (None, {})
    assert status["hypervolume"] is not None
    ledger = http.get(f"{STUDIES}/{study.study_id}/ledger").json()
    assert ledger["joules"] is None
    assert [(e["cause"], e["n_attempts"], e["n_unknown"], e["joules"]) for e in ledger["entries"]] == [
        ("completed", 1, 1, None)
    ]


def test_the_front_is_told_whole(http: TestClient, study: Study, store: Store) -> None:
    front = http.get(f"{STUDIES}/{study.study_id}/front").json()
    assert front == [store.trial(study.study_id, name).model_dump(mode="json") for name in ("00001", "00002")]


def test_the_ledger_counts_failures_apart(http: TestClient, study: Study) -> None:
    ledger = http.get(f"{STUDIES}/{study.study_id}/ledger").json()
    assert ledger["joules"] == 20.0
    assert [(e["cause"], e["worker"], e["n_attempts"], e["joules"]) for e in ledger["entries"]] == [
        ("completed", "fake:1", 4, 20.0),
        ("failed", "fake:1", 1, None),
    ]


def test_places_on_workers_are_not_shown(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec(data_dir="/secret/data", weights="/secret/weights.pt"))
    store.change_spec(study, study_spec(data_dir="/secret/elsewhere", weights="/secret/weights.pt", seed=5))
    for path in ("", "/events?follow=false"):
        text = http.get(f"{STUDIES}/{study.study_id}{path}").text
        assert "secret" not in text and study.spec.name in text


def test_a_study_begins_with_another_that_has_found_something(http: TestClient, study: Study, store: Store) -> None:
    young = store.create_study(study_spec())
    answers = [
        http.post("/api/v1/studies", json=study_document(warm_start=earlier))
        for earlier in (study.study_id, young.study_id, "nobody")
    ]
    assert [(answer.status_code, answer.json().get("detail")) for answer in answers] == [
        (201, None),
        (422, f"warm_start: study {young.study_id} has no front yet"),
        (422, "warm_start: there is no study with the id 'nobody', and none of this name"),
    ]
    assert answers[0].json()["spec"]["warm_start"] == study.study_id


def test_the_folder_that_a_run_began_with_is_not_shown(http: TestClient, store: Store) -> None:
    study = store.create_study(study_spec(warm_start="/home/somebody/runs/digits"))
    assert "somebody" not in http.get(f"/api/v1/studies/{study.study_id}").text
    assert "somebody" not in http.get(f"/api/v1/studies/{study.study_id}/events?follow=false").text


def test_times_are_in_utc(http: TestClient, study: Study) -> None:
    created = http.get(f"{STUDIES}/{study.study_id}").json()["created_at"]
    assert datetime.fromisoformat(created) == study.created_at and created.endswith("Z")


def test_a_study_that_begins_with_another_by_its_name_is_told_the_id(http: TestClient, study: Study) -> None:
    answer = http.post(STUDIES, json=study_document(warm_start="toy"))
    said = f"warm_start: there is no study with the id 'toy'; the id of the study of this name is {study.study_id}"
    assert (answer.status_code, answer.json()["detail"]) == (422, said)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a.b", "study_id: must be 1 to 32 letters (A-Z, a-z), digits, _ and -, got 'a.b'"),
        ("?name=%00", "name: must have no NUL, got '\\x00'"),
    ],
)
def test_what_a_name_may_be_is_said_in_words(http: TestClient, path: str, said: str) -> None:
    answer = http.get(f"{STUDIES}{'' if path[0] == '?' else '/'}{path}")
    assert (answer.status_code, answer.json()["detail"]) == (422, said)


def test_what_a_study_may_be_called_is_said_in_words(http: TestClient) -> None:
    detail = http.post(STUDIES, json=study_document(name="a/b", site={"country": "de"})).json()["detail"]
    assert detail.splitlines() == [
        "name: must be 1 to 100 letters, digits, spaces and . _ -, the first a letter, a digit or _, got 'a/b'",
        "site.country: must be three capital letters, such as DEU, got 'de'",
    ]
