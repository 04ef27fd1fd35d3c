"""Run by Alembic for each upgrade; the connection is the caller's, and so are its transaction and its lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from wegent.storage.models import Base

connection: Connection = context.config.attributes["connection"]
backend = connection.dialect.name
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=backend in {"sqlite", "postgresql"},
    render_as_batch=backend == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
