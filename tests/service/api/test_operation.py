from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

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
    assert http.get("/api/v1/workers").json() == {"seen_at": None, "is_current": False, "workers": []}
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
        }
    ]


def test_workers_that_nobody_has_seen_for_half_a_minute_are_gone(
    http: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workers(store).record([ONE])

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(seconds=31)

    monkeypatch.setattr("service.api.operation.datetime", Later)
    answer = http.get("/api/v1/workers").json()
    assert (answer["is_current"], answer["workers"]) == (False, []) and answer["seen_at"] is not None


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
