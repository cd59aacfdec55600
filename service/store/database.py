"""One database, SQLite or PostgreSQL: opening it, and changing it once however often it is busy or lost."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from service.errors import DamagedError, InputError, ServiceError

logger = logging.getLogger(__name__)
T = TypeVar("T")
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
# The server ends a transaction whose process is gone without a word, so that its locks are let go.
_IDLE_TRANSACTION_SECONDS = 30
# Of libpq; a connection that became silent is noticed within a minute. The URL may say otherwise.
_POSTGRESQL_OPTIONS = {
    "application_name": "greenshift",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
# Serialization failure, deadlock, lock not available, too many connections, shutdown, crash, cannot connect now.
_PASSING_STATES = {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03"}
_DISK_FULL = "53100"
_RESCUE = "restore it from a backup, or save with `sqlite3 FILE .recover` what can be read"


class _UndecidedError(Exception):
    """The server has not yet said what became of a transaction."""


class Database:
    """A database that is waited for where it is busy or lost; a change happens once or not at all.

    Args:
        where: path of a SQLite file, created if missing; a URL `sqlite:///FILE` or `postgresql://USER@HOST/NAME`; None
            keeps everything in memory, for one thread.
        patience_seconds: how long one call keeps trying.

    Attributes:
        name: for people; never with a password.
        file: of SQLite, else None.
        damage: that was met while the database was used, by whomever; else None.

    Raises:
        InputError: `where` names no database, or one that cannot be used.
    """

    def __init__(self, where: Path | str | None, patience_seconds: float = PATIENCE_SECONDS) -> None:
        url = _url(where)
        self._patience_seconds = patience_seconds
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self.file = Path(url.database or ":memory:") if self._is_sqlite else None
        self.name = _name(url)
        self.damage: DamagedError | None = None
        self._engine = _sqlite_engine(url, patience_seconds) if self._is_sqlite else _postgresql_engine(url)
        self._writing = self._engine.execution_options(writes=True)
        try:
            # A server that cannot be reached now is more often a wrong address than one that restarts.
            self._patiently(lambda: self._engine.connect().close(), _is_busy)
        except DBAPIError as error:
            self.close()
            if _sqlite_code(error) == sqlite3.SQLITE_CORRUPT:
                raise DamagedError(self._damage(error)) from error
            fault = "cannot be opened" if isinstance(error, OperationalError) else "is no store of studies"
            raise InputError(f"database: {self.name} {fault}: {_reason(error)}") from error

    def close(self) -> None:
        """Gives back all connections."""
        self._engine.dispose()

    def connected(self, isolation_level: IsolationLevel) -> Connection:
        """A connection of one's own; what its session holds ends when it is closed."""
        connection = self._engine.connect().execution_options(isolation_level=isolation_level)
        connection.detach()
        return connection

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns of a transaction that changes nothing; it may be called again.

        Raises:
            DamagedError: the file is damaged.
            ServiceError: the database failed, or stayed busy or lost.
        """

        def attempt() -> T:
            with self._engine.connect() as connection:
                return work(connection)

        return self._do(attempt)

    def write(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns of a transaction that happens once; `work` may be called again.

        Raises:
            DamagedError: the file is damaged.
            ServiceError: the database failed, or stayed busy or lost; nothing happened then, except that a change
                whose very answer was lost may have.
        """
        sent: tuple[str, T] | None = None

        def attempt() -> T:
            nonlocal sent
            if sent is not None and self._has_happened(sent[0]):
                return sent[1]
            sent = None
            with self._writing.begin() as connection:
                number = _transaction_number(connection)
                result = work(connection)
                # From here on the commit may happen without our learning of it.
                sent = None if number is None else (number, result)
            return result

        return self._do(attempt)

    def check_writable(self) -> None:
        """Commits a change that changes nothing, so that the disk, its locks and its rights are met.

        Raises:
            ServiceError: as `write` does.
        """

        def touch(connection: Connection) -> None:
            # On PostgreSQL the number of the transaction is what only a writer is given.
            if self._is_sqlite:
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
                connection.exec_driver_sql(f"PRAGMA user_version={int(version)}")

        self.write(touch)

    def _do(self, attempt: Callable[[], T]) -> T:
        try:
            return self._patiently(attempt, _is_passing)
        except (DBAPIError, _UndecidedError) as error:
            if _is_damaged(error):
                self.damage = DamagedError(self._damage(error))
                raise self.damage from error
            raise ServiceError(self._advice(error)) from error

    def _patiently(self, attempt: Callable[[], T], passes: Callable[[Exception], bool]) -> T:
        """What `attempt` returns once nothing that passes is in its way."""
        end, pause = time.monotonic() + self._patience_seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return attempt()
            except (DBAPIError, _UndecidedError) as error:
                if not passes(error) or time.monotonic() >= end:
                    raise
                if pause == _FIRST_PAUSE_SECONDS:
                    logger.warning("%s: %s; trying again", self.name, _reason(error))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _has_happened(self, number: str) -> bool:
        """Whether the transaction of this number was committed."""
        with self._engine.connect() as connection:
            status = connection.scalar(text("SELECT pg_xact_status(CAST(:number AS xid8))"), {"number": number})
        if status not in ("committed", "aborted"):
            raise _UndecidedError(f"a transaction is {status}")
        return bool(status == "committed")

    def _damage(self, error: Exception) -> str:
        return f"the store {self.name} is damaged ({_reason(error)}): {_RESCUE}"

    def _advice(self, error: Exception) -> str:
        """One line: what is wrong with the database, and what to do."""
        if not _is_passing(error):
            return f"the store {self.name} failed: {_reason(error)}"
        todo = "end the process that holds it" if self._is_sqlite else "see that the server runs"
        if _is_full(error):
            todo = "make room on its disk"
        return (
            f"the store {self.name} could not be used for {self._patience_seconds:g} s ({_reason(error)}): {todo}, "
            "then run again; what was recorded is kept"
        )


def file_of(where: Path | str) -> Path | None:
    """The SQLite file that a URL or path names, whether or not it is there; None of a server.

    Raises:
        InputError: it names no database.
    """
    url = _url(where)
    return Path(url.database or ":memory:") if url.get_backend_name() == "sqlite" else None


def _url(where: Path | str | None) -> URL:
    """The URL of a database, with the driver that is used for it."""
    if where is None:
        return URL.create("sqlite")
    if isinstance(where, Path):
        return URL.create("sqlite", database=str(where))
    allowed = "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        # What stands behind may be a password.
        scheme, separator, _ = where.partition("://")
        raise InputError(f"database: {allowed}, got {scheme + separator + '...' if separator else where!r}") from error
    if url.drivername == "sqlite":
        return url
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    raise InputError(f"database: {allowed}, got {url.drivername}://")


def _name(url: URL) -> str:
    """What messages call a database: nothing secret."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    shown = url.set(
        drivername="postgresql", query={key: url.query[key] for key in ("host", "port") if key in url.query}
    )
    return shown.render_as_string(hide_password=True)


def _sqlite_engine(url: URL, patience_seconds: float) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(url, poolclass=StaticPool) if in_memory else create_engine(url)

    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        # Transactions begin where `begin` says, tables included.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={1000 * min(1.0, patience_seconds):.0f}")
        # Readers do not wait for the writer.
        connection.execute("PRAGMA journal_mode=WAL")

    def begin(connection: Connection) -> None:
        # A writer that has read before it writes may find that another has written: it takes its turn first.
        is_writing = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def _postgresql_engine(url: URL) -> Engine:
    try:
        engine = create_engine(url.set(query={**_POSTGRESQL_OPTIONS, **url.query}))
    except ModuleNotFoundError as error:
        raise InputError("database: PostgreSQL needs `pip install 'greenshift[postgresql]'`") from error

    def set_up(connection: Any, _record: object) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_TRANSACTION_SECONDS}s'")
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def _transaction_number(connection: Connection) -> str | None:
    """A number by which PostgreSQL can later say what became of this transaction.

    A commit of SQLite needs none: it fails before it happens.
    """
    if connection.dialect.name == "sqlite":
        return None
    return str(connection.scalar(text("SELECT CAST(pg_current_xact_id() AS text)")))


def _is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later: the database is busy, starts again or cannot be reached."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, _UndecidedError)
    if _is_damaged(error):
        return False
    # Without a statement there was no connection.
    is_away = error.connection_invalidated or (error.statement is None and _state(error) is None)
    return _is_busy(error) or _is_full(error) or is_away


def _is_busy(error: Exception) -> bool:
    return _sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or _state(error) in _PASSING_STATES


def _is_full(error: Exception) -> bool:
    """Whether the disk has no room; somebody may make some."""
    return _sqlite_code(error) == sqlite3.SQLITE_FULL or _state(error) == _DISK_FULL


def _is_damaged(error: Exception) -> bool:
    """Whether the file is none of SQLite's, or not any more; that never passes."""
    return _sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _sqlite_code(error: Exception) -> int | None:
    """SQLite's plain code, the lower byte of an extended one; None of another database."""
    code: int | None = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _state(error: Exception) -> str | None:
    """The five letters by which PostgreSQL names an error."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "orig", error)).split())
