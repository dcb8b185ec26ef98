"""Storage commitment reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "commitment_reports",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("transaction_uid", sa.Text, nullable=False),
        sa.Column("ae_title", sa.String(16), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("verdicts", sa.Text, nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_s", sa.Double, nullable=False),
        sa.Column("lease_owner", sa.String(64)),
        sa.Column("lease_until_s", sa.Double, nullable=False),
        sa.Column("begun_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_commitment_reports"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_commitment_reports_next_attempt_s", "commitment_reports", ["next_attempt_s"]
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("commitment_reports")
