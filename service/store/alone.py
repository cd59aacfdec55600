"""Being the only process that runs the studies of a store: two coordinators of one study would spoil it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text

from service.errors import ConflictError, InputError
from service.store.reader import Reader

# Any number that nobody else locks.
_LOCK = 7_316_503_883
# Seconds in which a server has surely seen that a connection was closed.
_PATIENCE = 3.0


@contextmanager
def alone(store: Reader) -> Iterator[None]:
    """Holds the store for this process's coordinators; who holds it is forgotten however the process ends.

    Raises:
        ConflictError: another process holds it; of a server it is known after three seconds.
        InputError: it is in memory, or no file can be made beside that of SQLite.
    """
    taken = ConflictError(f"database: {store.database.name} has a service already; end that first, or name another")
    file = store.database.file
    if file is None:
        # Outside a transaction, which the server would end after a while.
        with store.database.connected("AUTOCOMMIT") as connection:
            if not _acquired(connection):
                raise taken
            yield
        return
    with _open(file.with_name(f"{file.name}.service")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise taken from error
        yield


def _acquired(connection: Connection) -> bool:
    """Whether the lock could be had; the server takes a moment to see that its last holder has gone."""
    until = time.monotonic() + _PATIENCE
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _open(path: Path) -> IO[str]:
    if path.name.startswith(":memory:"):
        raise InputError("database: must be a file or a server, got one in memory, which ends with the process")
    try:
        return path.open("w")
    except OSError as error:
        raise InputError(f"database: {path} cannot be written: {error.strerror}") from error
