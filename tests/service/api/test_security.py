from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.schema import Study
from service.store import Store, Tokens
from tests.service.api.conftest import HERE

OPEN = ["/healthz", "/readyz"]
GUARDED = ["/api/v1/studies", "/api/v1/presets", "/api/v1/workers", "/metrics"]


@pytest.fixture
def guarded(store: Store) -> TestClient:
    return TestClient(create_app(store, require_token=True), "https://greenshift.example")


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.mark.parametrize("path", GUARDED)
def test_only_a_valid_token_opens_a_route(guarded: TestClient, store: Store, path: str) -> None:
    tokens = Tokens(store)
    good, revoked = tokens.create_token("good"), tokens.create_token("revoked")
    tokens.revoke_token("revoked")
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    headers = [{}, bearer(wrong), bearer(revoked), bearer("x"), {"Authorization": good}, bearer(good)]
    assert [guarded.get(path, headers=h).status_code for h in headers] == [401, 401, 401, 401, 401, 200]


def test_a_refusal_says_what_is_missing_and_writes_nothing(guarded: TestClient, store: Store, study: Study) -> None:
    answer = guarded.post(f"/api/v1/studies/{study.study_id}/stop")
    assert answer.json()["detail"].startswith("Authorization: must be `Bearer TOKEN` with a valid token")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert store.requests(study.study_id) == []


def test_a_token_that_is_revoked_stops_working_at_once(guarded: TestClient, store: Store) -> None:
    secret = Tokens(store).create_token("mine")
    assert guarded.get("/api/v1/studies", headers=bearer(secret)).status_code == 200
    Tokens(store).revoke_token("mine")
    assert guarded.get("/api/v1/studies", headers=bearer(secret)).status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_whoever_looks_after_the_process_needs_no_token(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "[::1]:8765", "127.1.2.3"])
def test_on_this_machine_alone_no_token_is_needed(http: TestClient, host: str) -> None:
    assert http.get("/api/v1/studies", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["greenshift.example", "10.0.0.1:8765", "127.0.0.1.example", "localhost.example", ""])
def test_another_name_of_this_machine_needs_a_token(http: TestClient, host: str) -> None:
    answer = http.get("/api/v1/studies", headers={"Host": host})
    assert (answer.status_code, answer.json()["detail"]) == (
        403,
        f"Host: must be a name of this machine, such as 127.0.0.1, got {host!r}",
    )


def test_a_page_of_another_site_can_do_nothing(http: TestClient, store: Store, study: Study) -> None:
    path = f"/api/v1/studies/{study.study_id}/stop"
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert http.post(path, headers={"Origin": origin}).status_code == 403
    assert store.requests(study.study_id) == []
    assert http.post(path, headers={"Origin": HERE}).status_code == 202


def test_who_asks_too_often_is_told_when_to_come_again(store: Store) -> None:
    http = TestClient(create_app(store, require_token=False, requests_per_second=0.2), HERE)
    assert [http.get("/api/v1/presets").status_code for _ in range(3)] == [200, 200, 429]
    refused = http.get("/api/v1/presets")
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert http.get("/healthz").status_code == 200


def test_one_caller_does_not_spend_what_another_may(store: Store) -> None:
    http = TestClient(create_app(store, require_token=True, requests_per_second=0.1), HERE)
    one, other = (bearer(Tokens(store).create_token(name)) for name in ("one", "other"))
    statuses = [http.get("/api/v1/presets", headers=h).status_code for h in (one, one, other, {}, {}, bearer("x"))]
    assert statuses == [200, 429, 200, 401, 429, 429]
