"""Brings the tables of a database to the version that this program knows, whoever else opens it at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from service.errors import InputError
from service.store.database import Database

VERSION = "0004"
# A name of our own, so that another program's versions in the same database are not mistaken for ours.
VERSION_TABLE = "greenshift_version"
# Any number that nobody else locks.
_LOCK = 7_316_503_882
# Alembic keeps what it is doing in global variables.
_one_at_a_time = threading.Lock()


def migrate(database: Database) -> None:
    """Brings the tables to `VERSION`, in one transaction.

    Raises:
        InputError: the tables are of a newer version, or of another program.
    """
    found = database.read(_version)
    if found is not None and found > VERSION:
        raise InputError(
            f"database: {database.name} is a store of version {found} and this greenshift knows versions up to "
            f"{VERSION}: install a newer greenshift"
        )
    if found != VERSION:
        try:
            with _one_at_a_time:
                database.write(_upgrade)
        except InputError as error:
            raise InputError(f"database: {database.name} is no store of studies: {error}") from error


def _version(connection: Connection) -> str | None:
    """The version of the tables; None where there are none, or where greenshift 0.1.0 made them."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return version


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    # Whoever held the lock before may have done it.
    if _version(connection) != VERSION:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(config, VERSION)
