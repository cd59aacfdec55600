"""What is known of the workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import Document, Moment

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "workers",
        sa.Column("seen_at", Moment, primary_key=True),
        sa.Column("roster", Document, nullable=False),
    )
