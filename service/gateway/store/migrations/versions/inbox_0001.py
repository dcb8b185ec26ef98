"""Jobs, results, deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("file", sa.String(32), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(8), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_s", sa.Double, nullable=False),
        sa.Column("lease_owner", sa.String(64)),
        sa.Column("lease_until_s", sa.Double, nullable=False),
        sa.Column("received_s", sa.Double, nullable=False),
        sa.Column("begun_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.Column("has_bytes", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("sop_instance_uid", "digest", name="uq_jobs_sop_instance_uid_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state_next_attempt_s", "jobs", ["state", "next_attempt_s"])
    op.create_index("ix_jobs_study_instance_uid_seq", "jobs", ["study_instance_uid", "seq"])
    op.create_table(
        "results",
        sa.Column("file", sa.String(32), nullable=False),
        sa.Column("job_seq", _SEQUENCE, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("file", name="pk_results"),
        sa.ForeignKeyConstraint(
            ["job_seq"], ["jobs.seq"], name="fk_results_job_seq", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_results_job_seq", "results", ["job_seq"])
    op.create_index("ix_results_sop_instance_uid", "results", ["sop_instance_uid"])
    op.create_table(
        "deliveries",
        sa.Column("seq", _SEQUENCE, autoincrement=True, nullable=False),
        sa.Column("job_seq", _SEQUENCE, nullable=False),
        sa.Column("destination", sa.String(32), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_s", sa.Double, nullable=False),
        sa.Column("lease_owner", sa.String(64)),
        sa.Column("lease_until_s", sa.Double, nullable=False),
        sa.Column("begun_s", sa.Double, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["job_seq"], ["jobs.seq"], name="fk_deliveries_job_seq", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("job_seq", "destination", name="uq_deliveries_job_seq_destination"),
    )
    op.create_index("ix_deliveries_state_next_attempt_s", "deliveries", ["state", "next_attempt_s"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("deliveries", "results", "jobs"):
        op.drop_table(table)
