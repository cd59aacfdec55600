"""Tables of the store: the log, what it says at the moment, and what lies beside it."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, MetaData, String, Table

from service.store.columns import Document, Moment, Sequence

metadata = MetaData()

# Append-only: rows are never changed or deleted. Within a study `seq` grows in the order of commits; see log.py.
events = Table(
    "events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("study_id", String(32), nullable=False),
    Column("trial_id", String(32)),
    Column("kind", String(32), nullable=False),
    Column("at", Moment, nullable=False),
    Column("payload", Document, nullable=False),
    Index("events_of_study", "study_id", "seq"),
    Index("events_by_kind", "study_id", "kind", "seq"),
    sqlite_autoincrement=True,
)

# Projections: what follows from the log, kept so that reading needs no replay; see projection.py.
studies = Table(
    "studies",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("spec", Document, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("trial_id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    # `seq` of the event that added the trial, and of the last one about it.
    Column("added", Sequence, nullable=False),
    Column("seq", Sequence, nullable=False),
    Column("trial", Document, nullable=False),
    Column("result", Document),
    Index("trials_by_state", "study_id", "state", "added"),
    Index("trials_in_order", "study_id", "added"),
    Index("trials_by_change", "study_id", "seq"),
)

# Beside the log: losing a row of these harms no study.
epochs = Table(
    "epochs",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("trial_id", String(32), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("training_loss", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("study_id", String(32), primary_key=True),
    Column("seq", Sequence, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# Who may use the HTTP API; a secret itself is stored nowhere.
tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(16), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),
)

# One row: all workers, as whoever runs the studies saw them last.
workers = Table(
    "workers",
    metadata,
    Column("seen_at", Moment, primary_key=True),
    Column("roster", Document, nullable=False),
)

# Names of workers that get no new trial, also after they were started again.
drains = Table(
    "drains",
    metadata,
    Column("worker", String(200), primary_key=True),
    Column("at", Moment, nullable=False),
)
