from __future__ import annotations

import asyncio
import logging
import socket
import time
from urllib.parse import urlsplit

import anyio
import pytest

from service.api.leaving import LetReadersLeave
from service.store import Store
from tests.browser.stores import filled
from tests.service.served import files, serving, store

__all__ = ["files", "store"]  # fixtures


def read_a_little(url: str, path: str) -> None:
    """Opens a stream, reads its first bytes and is gone."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        assert connection.recv(100)
        # More is sent than the network holds, so the service waits.
        time.sleep(0.3)


def test_who_leaves_a_stream_in_the_middle_of_it_is_no_error(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    study = filled(store, 1500)
    with caplog.at_level(logging.ERROR), serving(store) as url:
        for _ in range(3):
            read_a_little(url, f"/api/v1/studies/{study.study_id}/events")
        time.sleep(0.5)
    assert [record.message for record in caplog.records] == []


def test_other_errors_are_still_errors() -> None:
    async def fails(*_: object) -> None:
        raise BaseExceptionGroup("two", [anyio.BrokenResourceError(), ValueError("real")])

    with pytest.raises(BaseExceptionGroup):
        asyncio.run(LetReadersLeave(fails)({"type": "http"}, None, None))  # type: ignore[arg-type]
