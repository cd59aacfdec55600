"""Text that PostgreSQL cannot hold is refused before it gets there, and on SQLite alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.store import Store
from tests.service.api.conftest import HERE
from tests.service.fakes import study_document
from tests.service.served import recorded

NUL = "%00"


@pytest.fixture(params=["file", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    is_file = request.param == "file"
    with Store(tmp_path / "studies.sqlite" if is_file else request.getfixturevalue("postgresql_url")) as store:
        yield store


def test_a_nul_in_a_path_a_query_or_a_study_is_refused(http: TestClient, store: Store) -> None:
    study = recorded(store).study_id
    paths = [f"studies/{NUL}", f"studies/a{NUL}/front", f"studies/{study}/trials/{NUL}", f"studies?name={NUL}",
             f"studies?name=toy{NUL}", f"studies?after={NUL}", f"studies?state={NUL}",
             f"studies/{study}/trials?state={NUL}"]  # fmt: skip
    orders = [f"studies/{NUL}/stop", f"studies/{study}/trials/00001{NUL}/cancel", f"workers/{NUL}/drain",
              f"workers/a{NUL}/undrain"]  # fmt: skip
    answers = [http.get(f"/api/v1/{path}") for path in paths] + [http.post(f"/api/v1/{path}") for path in orders]
    answers += [
        http.post("/api/v1/studies", json=study_document() | {key: "a\0b"}) for key in ("name", "dataset", "colour")
    ]
    assert {str(answer.url): answer.status_code for answer in answers if answer.status_code != 422} == {}
    assert len(store.studies()) == 1


def test_a_name_that_no_study_can_have_is_just_not_found(http: TestClient) -> None:
    answer = http.get("/api/v1/studies", params={"name": "not / a name é"})
    assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.fixture
def http(store: Store) -> TestClient:
    return TestClient(create_app(store, require_token=False), HERE)
