"""A page of what is not there says so by its status as well."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.schema import Study
from service.store import Store
from tests.service.api.conftest import HERE, http
from tests.service.served import files, store, study

__all__ = ["files", "http", "store", "study"]  # fixtures
UNKNOWN = ["/studies/nope", "/studies/nope/trials/00001", "/studies/{}/trials/00099", "/studies/a.b"]


@pytest.mark.parametrize("path", UNKNOWN)
def test_the_same_page_comes_with_the_status_404(http: TestClient, study: Study, path: str) -> None:
    there = http.get(f"/studies/{study.study_id}{'/trials/00001' if 'trials' in path else ''}")
    assert there.status_code == 200
    answer = http.get(path.format(study.study_id), headers={"If-None-Match": there.headers["ETag"]})
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (404, there.text, "no-store")
    assert answer.headers["Content-Security-Policy"] == there.headers["Content-Security-Policy"]


def test_who_shows_no_token_is_not_told_what_there_is(store: Store, study: Study) -> None:
    http = TestClient(create_app(store, require_token=True), HERE)
    assert http.get(f"/studies/{study.study_id}").status_code == http.get("/studies/nope").status_code == 200


def test_a_store_that_cannot_be_used_makes_no_study_unknown(http: TestClient, store: Store, study: Study) -> None:
    store.database.write(lambda connection: connection.exec_driver_sql("ALTER TABLE studies RENAME TO gone"))
    assert http.get(f"/api/v1/studies/{study.study_id}").status_code == 503
    assert http.get(f"/studies/{study.study_id}").status_code == 200
