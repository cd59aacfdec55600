from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from service.api import create_app
from service.schema import preset_names
from service.store import Store, Workers, WorkerStatus
from service.telemetry import show_slots
from tests.service.api.conftest import HERE

ONE = WorkerStatus("tcp://10.0.0.1:4000", "gpu-0", "GPU", 1, 1, "NVIDIA H100", ("abc",))


def test_all_presets_are_listed(http: TestClient) -> None:
    presets = http.get("/api/v1/presets").json()
    assert [preset["name"] for preset in presets] == preset_names()
    assert all(preset["spec"]["name"] == preset["name"] for preset in presets)


def test_nobody_has_looked_for_workers_is_told_apart_from_nobody_works(http: TestClient, store: Store) -> None:
    assert http.get("/api/v1/workers").json() == {
        "seen_at": None,
        "age_seconds": None,
        "is_current": False,
        "workers": [],
    }
    Workers(store).record([])
    answer = http.get("/api/v1/workers").json()
    assert (answer["is_current"], answer["workers"]) == (True, [])


def test_workers_are_told_as_they_were_seen(http: TestClient, store: Store) -> None:
    Workers(store).record([ONE])
    assert http.get("/api/v1/workers").json()["workers"] == [
        {
            "address": "tcp://10.0.0.1:4000",
            "name": "gpu-0",
            "resource": "GPU",
            "n_slots": 1,
            "n_running": 1,
            "device": "NVIDIA H100",
            "set_aside_by": ["abc"],
            "state": "active",
        }
    ]


@pytest.mark.parametrize("name", ["gpu-0", "tcp://10.0.0.2:4000"])
def test_a_worker_is_draining_while_it_runs_a_trial_and_drained_then(http: TestClient, store: Store, name: str) -> None:
    for n_running, state in ((1, "draining"), (0, "drained")):
        Workers(store).record([replace(ONE, name=name, n_running=n_running), replace(ONE, name="other")])
        answer = http.post(f"/api/v1/workers/{quote(name, safe='')}/drain")
        assert (answer.status_code, answer.json()) == (200, {"name": name, "is_drained": True})
        assert [w["state"] for w in http.get("/api/v1/workers").json()["workers"]] == [state, "active"]
    answer = http.post(f"/api/v1/workers/{quote(name, safe='')}/undrain")
    assert (answer.status_code, answer.json()) == (200, {"name": name, "is_drained": False})
    assert Workers(store).drained() == frozenset()


def test_only_a_worker_that_is_known_is_drained_and_one_that_has_left_is_taken_back(
    http: TestClient, store: Store
) -> None:
    for order in ("drain", "undrain"):
        answer = http.post(f"/api/v1/workers/nobody/{order}")
        assert (answer.status_code, answer.json()) == (404, {"detail": "name: there is no worker 'nobody'"})
    Workers(store).record([ONE])
    assert http.post("/api/v1/workers/gpu-0/drain").status_code == 200
    Workers(store).record([])
    assert http.post("/api/v1/workers/gpu-0/undrain").status_code == 200


@pytest.mark.parametrize("seconds", [91, -3600])
def test_workers_that_nobody_has_seen_for_half_a_minute_by_the_services_clock_are_gone(
    http: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    Workers(store).record([ONE])

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    monkeypatch.setattr("service.api.operation.datetime", Later)
    answer = http.get("/api/v1/workers").json()
    assert (answer["is_current"], answer["workers"]) == (False, []) and answer["seen_at"] is not None
    assert abs(seconds) - 60 < answer["age_seconds"] < abs(seconds) + 60


def test_metrics_are_those_of_the_process_in_the_form_of_prometheus(http: TestClient) -> None:
    show_slots(4, 3)
    answer = http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    samples = {
        sample.name: sample.value for family in text_string_to_metric_families(answer.text) for sample in family.samples
    }
    assert (samples["greenshift_slots"], samples["greenshift_slots_busy"]) == (4, 3)
    assert REGISTRY.get_sample_value("greenshift_slots") == 4


def test_a_service_that_lives_says_its_version(http: TestClient) -> None:
    assert http.get("/healthz").json() == {"status": "ok", "version": metadata.version("greenshift")}


def test_a_store_that_cannot_be_used_is_said_and_is_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "studies.sqlite"
    with Store(file, patience_seconds=0.05) as store:
        http = TestClient(create_app(store, require_token=False), HERE)
        assert http.get("/readyz").status_code == 200
        store.close()
        for path in tmp_path.iterdir():
            path.unlink()
        file.write_text("no database")
        assert http.get("/healthz").status_code == 200
        for path in ("/readyz", "/api/v1/studies"):
            answer = http.get(path)
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith(f"the store {file} ") and "\n" not in answer.json()["detail"]
