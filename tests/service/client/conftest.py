"""A service that runs, and what talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.client import Client
from service.store import Store
from tests.service.served import files, serving, store, study

__all__ = ["files", "store", "study"]  # fixtures


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
