"""An application over a real store, and a client in the same process."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.api import create_app
from service.store import Store
from tests.service.served import files, store, study

__all__ = ["files", "store", "study"]  # fixtures

# What a service on this machine alone is called.
HERE = "http://127.0.0.1:8765"


@pytest.fixture
def http(store: Store) -> TestClient:
    return TestClient(create_app(store, require_token=False), HERE)
