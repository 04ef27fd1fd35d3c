"""Engines: what each database needs to be told before it behaves alike."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from wegent.core.errors import ConfigError

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}
_EXTRAS: Final = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgresql"}


def parse_url(url: str) -> URL:
    """The URL with the driver that we use. Raises `ConfigError`, which names no password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("the database URL is none; write sqlite:///path or scheme://user:pw@host/db") from None
    backend = parsed.drivername.partition("+")[0]
    if backend not in _DRIVERS:
        known = ", ".join(_DRIVERS)
        raise ConfigError(f"no database of the scheme {backend!r} is known; known are {known}")
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("sqlite needs a path (sqlite:///path); to keep nothing, use memory://")
    if parsed.drivername == backend:
        parsed = parsed.set(drivername=_DRIVERS[backend])
    return parsed


def make_engine(url: URL, *, writing: bool, timeout: float) -> Engine:
    """An engine whose connections read or write as units want it.

    It keeps no connections (a `Line` does) and resets none: every unit ends its own transaction.

    Args:
        url: as `parse_url` gives it.
        writing: READ COMMITTED that locks at its first statement where there is a choice; else one snapshot.
        timeout: seconds for a connection to be made, a lock to be had, and, where the driver knows such a limit,
            an answer to come.
    """
    backend = url.get_backend_name()
    options: dict[str, Any] = {}
    if backend != "sqlite":
        options["isolation_level"] = "READ COMMITTED" if writing else "REPEATABLE READ"
        options["connect_args"] = _postgresql(timeout) if backend == "postgresql" else _mysql(timeout)
    else:
        options["connect_args"] = {"timeout": timeout, "check_same_thread": False}
    try:
        # What people wrote must not stand in a traceback, hence no parameters in errors.
        engine = create_engine(url, poolclass=NullPool, pool_reset_on_return=None, hide_parameters=True, **options)
    except (ImportError, NoSuchModuleError):
        extra = _EXTRAS.get(backend, backend)
        raise ConfigError(f"the driver for {backend} is missing; install wegent[{extra}]") from None
    if backend == "sqlite":
        _prepare_sqlite(engine, writing=writing)
    elif backend == "postgresql" and not writing:
        event.listen(engine, "connect", _read_only)
    return engine


def _postgresql(timeout: float) -> dict[str, Any]:
    millis = math.ceil(timeout * 1000)
    return {
        # libpq takes whole seconds, and 2 at least
        "connect_timeout": max(2, math.ceil(timeout)),
        "tcp_user_timeout": millis,
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "application_name": "wegent",
        "options": f"-c statement_timeout={millis} -c lock_timeout={math.ceil(millis * 0.6)} -c timezone=UTC",
    }


def _mysql(timeout: float) -> dict[str, Any]:
    lock = max(1, int(timeout * 0.6))  # whole seconds
    return {
        "charset": "utf8mb4",
        "connect_timeout": max(1, math.ceil(timeout)),
        "read_timeout": max(timeout, lock + 0.5),
        "write_timeout": max(timeout, lock + 0.5),
        "init_command": "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'),"
        f" innodb_lock_wait_timeout = {lock}",
    }


def _read_only(connection: Any, _record: object) -> None:
    connection.read_only = True


def _prepare_sqlite(engine: Engine, *, writing: bool) -> None:
    begin = "BEGIN IMMEDIATE" if writing else "BEGIN"

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the module's own way of beginning transactions is none for us
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        if not writing:
            connection.execute("PRAGMA query_only = ON")

    def begin_at_once(connection: Any) -> None:
        connection.execute(begin)

    event.listen(engine, "connect", on_connect)
    # Not an event "begin": an engine with one looks at every statement for others.
    engine.dialect.do_begin = begin_at_once  # type: ignore[method-assign, assignment]


def _write_ahead(connection: sqlite3.Connection) -> None:
    # Switching to the write-ahead log does not wait for a lock as other statements do.
    for pause in (0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, None):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


def make_folder(url: URL) -> None:
    """The folder of an SQLite file. Raises `ConfigError` if it cannot be made."""
    if url.get_backend_name() != "sqlite" or url.database is None:
        return
    folder = Path(url.database).absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the database's folder {folder} cannot be made: {error.strerror}") from None
