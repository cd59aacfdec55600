"""The append-only log: one line for everything that happened to a study, numbered in the order of commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from service.store.tables import events, studies

RequestKind = Literal["pause", "resume", "stop", "retry", "cancel"]


@dataclass(frozen=True)
class Event:
    """One line of the log. Within a study `seq` grows in the order of commits: nothing appears behind a reader."""

    seq: int
    kind: str
    trial_id: str | None
    at: datetime
    payload: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What somebody asks of a study's coordinator; `retry` and `cancel` are about a trial."""

    study_id: str
    seq: int
    kind: RequestKind
    trial_id: str | None
    at: datetime


def hold(connection: Connection, study_id: str) -> None:
    """Makes all other writers of a study wait until this transaction ends.

    Numbers are given out when a line is written and seen when it is committed. A writer that held nothing could
    commit 7 before another commits 6, and a reader that went on from 7 would never see 6. SQLite has one writer.

    Raises:
        KeyError: there is no such study.
    """
    row = connection.execute(select(studies.c.study_id).where(studies.c.study_id == study_id).with_for_update())
    if row.one_or_none() is None:
        raise KeyError(f"no study {study_id!r}")


def append(
    connection: Connection,
    study_id: str,
    kind: str,
    payload: dict[str, Any],
    trial_id: str | None = None,
) -> Event:
    """Adds a line to the log of a study that is held, or that is new."""
    at = datetime.now(UTC)
    values = {"study_id": study_id, "trial_id": trial_id, "kind": kind, "at": at, "payload": payload}
    key = connection.execute(insert(events).values(values)).inserted_primary_key
    assert key is not None
    return Event(int(key[0]), kind, trial_id, at, payload)
