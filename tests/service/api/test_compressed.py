"""Large answers are compressed for who can read that, and streams of events come as they are written."""

from __future__ import annotations

import json

import httpx2
from fastapi.testclient import TestClient

from service.schema import Study
from service.store import Store
from tests.service.served import serving


def test_a_large_document_is_compressed(http: TestClient, study: Study) -> None:
    path = f"/api/v1/studies/{study.study_id}/trials"
    plain = http.get(path, headers={"Accept-Encoding": "identity"})
    with http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        sent = b"".join(answer.iter_raw())
    assert "Content-Encoding" not in plain.headers
    assert answer.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in answer.headers["Vary"]
    assert len(sent) < 0.4 * len(plain.content)
    assert http.get(path).json() == plain.json()


def test_what_is_compressed_already_is_not_again(http: TestClient, study: Study) -> None:
    found = http.get(f"/api/v1/studies/{study.study_id}/points", headers={"Accept-Encoding": "gzip"})
    assert found.headers["Content-Encoding"] == "gzip" and len(found.json()["trial_id"]) == 7


def test_an_event_is_read_while_its_stream_goes_on(store: Store, study: Study) -> None:
    with serving(store) as url, httpx2.Client(timeout=60) as client:
        path = f"{url}/api/v1/studies/{study.study_id}/events"
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            assert "Content-Encoding" not in answer.headers
            line = next(line for line in answer.iter_lines() if line.startswith("data:"))
            assert json.loads(line.removeprefix("data:"))["kind"] == "study_created"
