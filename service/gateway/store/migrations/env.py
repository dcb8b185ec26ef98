"""Alembic's environment, for a given connection."""

from __future__ import annotations

from alembic import context

from service.gateway.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
