"""A store that is read and cannot be written: a disk without room, and a file that may only be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from service.api import create_app
from service.errors import ServiceError
from service.store import Store
from tests.service.api.conftest import HERE
from tests.service.fakes import study_spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "studies.sqlite", patience_seconds=0.1) as store:
        yield store


def set_up(store: Store, pragma: str) -> None:
    """Gives every connection from now on a pragma of SQLite's own."""
    engine: Any = store.database._engine
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _record: connection.execute(f"PRAGMA {pragma}"))


def test_where_the_disk_is_full_room_is_asked_for_and_waited_for(store: Store) -> None:
    set_up(store, "max_page_count=1")
    with pytest.raises(
        ServiceError, match=r"could not be used for 0.1 s \(database or disk is full\): make room on its"
    ):
        for _ in range(1000):
            store.create_study(study_spec())
    assert store.studies()


def test_a_service_whose_store_cannot_be_written_is_not_ready(store: Store) -> None:
    http = TestClient(create_app(store, require_token=False), HERE)
    store.create_study(study_spec())
    assert http.get("/readyz").status_code == 200
    set_up(store, "query_only=1")
    answer = http.get("/readyz")
    assert (answer.status_code, http.get("/api/v1/studies").status_code) == (503, 200)
    assert "attempt to write a readonly database" in answer.json()["detail"]
