"""Brings a database to the newest tables, once, whoever else starts at the same time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError

from wegent.core.errors import ConfigError, StoreAway
from wegent.storage.engines import make_engine, make_folder
from wegent.storage.faults import Fault, as_error, diagnose

_FOLDER: Final = Path(__file__).parent / "migrations"
_PATIENCE: Final = 60
_LOCK: Final = 0x77656765_6E740001  # any number that nobody else takes as an advisory lock of PostgreSQL

# Alembic's operations are one object for the whole process.
_one_at_a_time = threading.Lock()


def migrate(url: URL, *, timeout: float) -> None:
    """Bring the database to the newest revision. Blocks; for a worker thread.

    Raises:
        ConfigError: the database is of a newer program, or refuses us, or does not exist.
        StoreAway: it does not answer.
    """
    make_folder(url)
    if _current(url, timeout) == _newest():
        return
    engine = make_engine(url, writing=True, timeout=_PATIENCE)
    with _explained(), _one_at_a_time, engine.connect() as conn, _locked(conn):
        _check(MigrationContext.configure(conn).get_current_heads())
        config = _config()
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
        conn.commit()


def revision(url: URL, *, timeout: float = 5.0) -> tuple[str | None, str]:
    """The database's revision (None: empty), and the newest. Raises as `migrate`."""
    return _current(url, timeout), _newest()


def _current(url: URL, timeout: float) -> str | None:
    engine = make_engine(url, writing=False, timeout=timeout)
    with _explained(), engine.connect() as conn:
        heads = MigrationContext.configure(conn).get_current_heads()
        conn.rollback()
    _check(heads)
    return heads[0] if heads else None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _newest() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _check(heads: tuple[str, ...]) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    unknown = [head for head in heads if head not in known]
    if unknown:
        raise ConfigError(
            f"the database is of revision {unknown[0]}, which this version does not know: it was made by a newer"
            " one; install that, or restore a backup"
        )


@contextmanager
def _locked(conn: Connection) -> Iterator[None]:
    """Nobody else migrates meanwhile. On SQLite the transaction is the lock, which `BEGIN IMMEDIATE` took."""
    match conn.dialect.name:
        case "postgresql":
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield
        case "sqlite":
            yield
        case _:
            name = "wegent." + hashlib.sha256((conn.engine.url.database or "").encode()).hexdigest()[:32]
            # Of the session, not the transaction: here every statement on tables is a transaction of its own.
            if (
                conn.execute(text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": _PATIENCE // 2}).scalar()
                != 1
            ):
                raise StoreAway("another program has been changing the tables for too long")
            try:
                yield
            finally:
                conn.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        fault = diagnose(error)
        if fault is Fault.SETUP:
            # The first line says who was refused, and where; no driver puts the password there.
            raise ConfigError(f"the database refuses us: {str(error.orig).splitlines()[0]}") from None
        told: Any = as_error(fault)
        raise (told or error) from error
