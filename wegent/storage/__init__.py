"""Where rows are kept: in memory, or in SQLite, MariaDB, MySQL or PostgreSQL."""

from wegent.storage.memory import MemoryStore
from wegent.storage.opening import open_store
from wegent.storage.sql import Limits, SqlStore

__all__ = ["Limits", "MemoryStore", "SqlStore", "open_store"]
