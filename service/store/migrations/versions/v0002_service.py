"""What a service needs: learning curves, snapshots of the optimizer, tokens, and reading in pages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import Moment, Sequence

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds tables and indexes."""
    op.create_index("events_by_kind", "events", ["study_id", "kind", "seq"])
    op.drop_index("trials_by_state", "trials")
    op.create_index("trials_by_state", "trials", ["study_id", "state", "added"])
    op.create_index("trials_in_order", "trials", ["study_id", "added"])
    op.create_index("trials_by_change", "trials", ["study_id", "seq"])
    op.create_table(
        "epochs",
        sa.Column("study_id", sa.String(32), primary_key=True),
        sa.Column("trial_id", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("training_loss", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
    )
    op.create_table(
        "snapshots",
        sa.Column("study_id", sa.String(32), primary_key=True),
        sa.Column("seq", Sequence, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("revoked_at", Moment),
        sa.Column("last_used_at", Moment),
    )
