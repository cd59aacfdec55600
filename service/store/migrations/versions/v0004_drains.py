"""Which workers are to be left alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.columns import Moment

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "drains",
        sa.Column("worker", sa.String(200), primary_key=True),
        sa.Column("at", Moment, nullable=False),
    )
