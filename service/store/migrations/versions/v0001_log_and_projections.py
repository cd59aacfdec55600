"""The log and its projections, as greenshift 0.1.0 made them without a version; what it left is taken over."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from service.errors import InputError
from service.store.columns import Document, Moment, Sequence

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables that are not there."""
    _make(
        "events",
        sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
        sa.Column("study_id", sa.String(32), nullable=False),
        sa.Column("trial_id", sa.String(32)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("payload", Document, nullable=False),
        sa.Index("events_of_study", "study_id", "seq"),
        sqlite_autoincrement=True,
    )
    _make(
        "studies",
        sa.Column("study_id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("spec", Document, nullable=False),
    )
    _make(
        "trials",
        sa.Column("study_id", sa.String(32), primary_key=True),
        sa.Column("trial_id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("added", Sequence, nullable=False),
        sa.Column("seq", Sequence, nullable=False),
        sa.Column("trial", Document, nullable=False),
        sa.Column("result", Document),
        sa.Index("trials_by_state", "study_id", "state"),
    )


def _make(name: str, *parts: sa.Column[Any] | sa.Index, **options: Any) -> None:
    """Makes a table, or makes sure that the one that is there is ours."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(name):
        op.create_table(name, *parts, **options)
        return
    found = {column["name"] for column in inspector.get_columns(name)}
    if found != {part.name for part in parts if isinstance(part, sa.Column)}:
        raise InputError(f"its table {name} is of another program: it has the columns {', '.join(sorted(found))}")
