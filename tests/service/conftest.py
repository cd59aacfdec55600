"""One PostgreSQL server for all tests that want one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from service.store import Store
from service.store.tables import metadata
from tests.service.postgresql import NoServerError, Server, running_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A running server."""
    try:
        with running_server() as server:
            yield server
    except NoServerError as error:
        pytest.skip(f"NO POSTGRESQL: what only a real server can show is NOT TESTED: {error}")


@pytest.fixture
def new_postgresql_url(postgresql: Server) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgresql.execute(f"CREATE DATABASE {name}")
    yield postgresql.url(name)
    postgresql.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _shared_postgresql_url(postgresql: Server) -> str:
    postgresql.execute("CREATE DATABASE shared")
    with Store(postgresql.url("shared")):
        return postgresql.url("shared")


@pytest.fixture
def postgresql_url(_shared_postgresql_url: str) -> str:
    """An empty store, sooner than a new one."""
    with psycopg.connect(_shared_postgresql_url) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
    return _shared_postgresql_url
