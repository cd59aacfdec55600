"""Tables of the store: the log, and what it says at the moment."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, Integer, MetaData, String, Table

metadata = MetaData()

# Append-only: rows are never changed or deleted.
events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("study_id", String(32), nullable=False),
    Column("trial_id", String(32)),
    Column("kind", String(32), nullable=False),
    Column("at", String(32), nullable=False),
    Column("payload", JSON, nullable=False),
    Index("events_of_study", "study_id", "seq"),
    sqlite_autoincrement=True,
)

# Projections: what follows from the log, kept so that reading needs no replay.
studies = Table(
    "studies",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("spec", JSON, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("trial_id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    # `seq` of the event that added the trial, and of the last one about it.
    Column("added", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("trial", JSON, nullable=False),
    Column("result", JSON),
    Index("trials_by_state", "study_id", "state"),
)
