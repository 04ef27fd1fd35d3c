"""One connection at a time, and a unit on it: begin, work, commit."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from wegent.core.clock import Clock
from wegent.server.ports.store import Unit
from wegent.storage.sql_unit import SqlUnit

T = TypeVar("T")


class Line:
    """A thread's place at the database. Used by one thread at a time; `cut` alone may come from another.

    Attributes:
        committing: COMMIT was sent in the last unit; whether it was done is known only if `run` returned.
    """

    __slots__ = ("_clock", "_conn", "_deadline", "_engine", "_guard", "_stale", "_wire", "_writing", "committing")

    def __init__(self, engine: Engine, clock: Clock, *, writing: bool) -> None:
        self._engine = engine
        self._clock = clock
        self._writing = writing
        self._conn: Connection | None = None
        self._wire: socket.socket | None = None
        self._deadline: float | None = None
        self._guard = threading.Lock()
        self._stale = False
        self.committing = False

    @property
    def can_hang(self) -> bool:
        """The driver waits for an answer for ever, so `cut` is needed."""
        return self._engine.dialect.name == "postgresql"

    def limit(self, deadline: float | None) -> None:
        """From `deadline` on (`time.monotonic`), `cut` ends what is going on; None: nothing is."""
        self._deadline = deadline

    def run(self, work: Callable[[Unit], T]) -> T:
        """Run a unit. Whatever it raises, the transaction is over and the line can be used again."""
        self.committing = False
        conn = self.open() if self._stale or self._conn is None else self._conn
        unit = SqlUnit(conn, self._clock, writable=self._writing)
        try:
            conn.begin()
            result = work(unit)
            if self._writing:
                self.committing = True
                conn.commit()
            else:
                conn.rollback()
        except BaseException:
            self._roll_back(conn)
            raise
        finally:
            unit.close()
        return result

    def open(self) -> Connection:
        """Connect. Raises what the driver raises."""
        self.drop()
        self._stale = False
        conn = self._conn = self._engine.connect()
        if self.can_hang:
            self._hold_wire(conn.connection.dbapi_connection)
        return conn

    def distrust(self) -> None:
        """The database was away: what is connected may be dead, and no answer would ever say so."""
        self._stale = True

    def cut(self) -> None:
        """If the unit is overdue, break its connection, so that its thread gets an error instead of an answer."""
        with self._guard:
            overdue = self._deadline is not None and time.monotonic() > self._deadline
            if overdue and self._wire is not None:
                with suppress(OSError):
                    self._wire.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Forget the connection; the next unit makes another."""
        conn, self._conn = self._conn, None
        with self._guard:
            wire, self._wire = self._wire, None
        if conn is not None:
            with suppress(Exception):
                conn.invalidate()
            with suppress(Exception):
                conn.close()
        if wire is not None:
            wire.close()

    def close(self) -> None:
        """The end: close the connection as the database likes it."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(SQLAlchemyError):
                conn.close()
        self.drop()

    def _hold_wire(self, driver: Any) -> None:
        # Our own hold on the socket: libpq may close its descriptor, and the number may be another's by then.
        with suppress(Exception):  # dead already: the unit will find out
            wire = socket.socket(fileno=os.dup(driver.fileno()))
            with self._guard:
                self._wire = wire

    def _roll_back(self, conn: Connection) -> None:
        if conn.invalidated:
            self.drop()
            return
        try:
            conn.rollback()
        except Exception:
            self.drop()  # the first error is the one to be told
