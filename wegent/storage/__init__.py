"""Where rows are kept: in memory, or in SQLite, MariaDB, MySQL or PostgreSQL."""

from wegent.storage.memory import MemoryStore

__all__ = ["MemoryStore"]
