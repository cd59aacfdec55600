"""A service that runs, and what talks to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client import Client
from service.schema import Study
from service.store import Store
from tests.service.served import recorded, serving


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "studies.sqlite") as store:
        yield store


@pytest.fixture
def study(store: Store) -> Study:
    return recorded(store)


@pytest.fixture
def url(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("GREENSHIFT_URL", "GREENSHIFT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(store) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
