"""The dashboard of one run: the pages of the service over the run's own store, on this machine alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from service.api import create_app
from service.store import Store

# Requests are better refused soon than kept, and at the end nobody waits long for them.
_PATIENCE_SECONDS = 5.0
_GRACE_SECONDS = 2


@contextmanager
def showing(database: Path, report: Path) -> Iterator[str]:
    """Serves the store of a run on a free port of this machine, for the time of a `with` block.

    What is asked of the study there, its coordinator in this process does as it would for a service.

    Args:
        database: the store, which the run writes.
        report: where the report will lie, for the pages to say.

    Yields:
        The URL.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Store(database, patience_seconds=_PATIENCE_SECONDS) as store,
    ):
        app = create_app(
            store, require_token=False, is_stopping=lambda: server.should_exit, report=str(report.resolve())
        )
        config = uvicorn.Config(
            app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=_GRACE_SECONDS
        )
        server = uvicorn.Server(config)
        # Daemonic, so that it never keeps a program that is interrupted.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="dashboard")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(2 * _GRACE_SECONDS)
