"""The inbox's tables.

They hold UIDs, states and times (seconds since 1970), never pixels or patient attributes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

UID_CHARACTERS = 64  # PS3.5, 9.1
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")  # SQLite increments only INTEGER

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),  # order of arrival
    Column("id", String(32), nullable=False, unique=True),
    Column("file", String(32), nullable=False),
    Column("sop_instance_uid", String(UID_CHARACTERS), nullable=False),
    Column("sop_class_uid", String(UID_CHARACTERS), nullable=False),
    Column("study_instance_uid", String(UID_CHARACTERS), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("channel", String(8), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_s", Double, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until_s", Double, nullable=False),
    Column("received_s", Double, nullable=False),
    Column("begun_s", Double, nullable=False),  # start of the attempts; a retry begins anew
    Column("updated_s", Double, nullable=False),
    Column("has_bytes", Boolean, nullable=False),
    UniqueConstraint("sop_instance_uid", "digest"),
    Index(None, "state", "next_attempt_s"),
    Index(None, "study_instance_uid", "seq"),
    sqlite_autoincrement=True,  # never reuses a number, so order survives deletion
)

results = Table(
    "results",
    metadata,
    Column("file", String(32), primary_key=True),
    Column(
        "job_seq", SEQUENCE, ForeignKey("jobs.seq", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("position", Integer, nullable=False),
    Column("sop_instance_uid", String(UID_CHARACTERS), nullable=False, index=True),
    Column("sop_class_uid", String(UID_CHARACTERS), nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("job_seq", SEQUENCE, ForeignKey("jobs.seq", ondelete="CASCADE"), nullable=False),
    Column("destination", String(32), nullable=False),
    Column("state", String(10), nullable=False),
    Column("reason", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_s", Double, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until_s", Double, nullable=False),
    Column("begun_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    UniqueConstraint("job_seq", "destination"),
    Index(None, "state", "next_attempt_s"),
)

commitment_reports = Table(
    "commitment_reports",
    metadata,
    Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
    Column("transaction_uid", Text, nullable=False),
    Column("ae_title", String(16), nullable=False),
    Column("address", Text, nullable=False),
    Column("verdicts", Text, nullable=False),  # JSON: SOP class, SOP instance, whether it is kept
    Column("reason", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_s", Double, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until_s", Double, nullable=False),
    Column("begun_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    Index(None, "next_attempt_s"),
    sqlite_autoincrement=True,  # never reuses a number: it identifies an association
)
