"""What units over a connection of SQLAlchemy, which is in a transaction, begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import attrs
from sqlalchemy import Connection, CursorResult, Executable, Table
from sqlalchemy.exc import IntegrityError, StatementError

from wegent.core.clock import Clock
from wegent.core.errors import InvalidPayload, NotFound, WegentError
from wegent.server.ports.store import Unit
from wegent.server.records import Kind
from wegent.storage import statements as sql
from wegent.storage.faults import violation

_LONG: Final = 250_000

R = TypeVar("R")
Rows = CursorResult[*tuple[Any, ...]]


class SqlBase(Unit):
    """One unit; unusable once closed, and a reading one refuses to change anything."""

    __slots__ = ("_clock", "_conn", "_kinds", "_open", "_returning", "_writable")

    def __init__(self, conn: Connection, clock: Clock, *, writable: bool) -> None:
        self._conn = conn
        self._clock = clock
        self._writable = writable
        self._open = True
        self._kinds: dict[tuple[Any, ...], Kind | None] = {}
        """What was read of them in this transaction: each row of a claim leads to the same few."""
        # MariaDB and MySQL know no UPDATE … RETURNING: there the row is read after it, under the lock it took.
        self._returning = conn.dialect.update_returning

    def close(self) -> None:
        """The transaction is over: a unit that was kept beyond it must not reach the rows."""
        self._open = False

    def _read(self, statement: Executable, **params: Any) -> Rows:
        return self._execute(statement, params)

    def _write(self, statement: Executable, params: Any = None) -> Rows:
        if not self._writable:
            raise RuntimeError("a unit of Store.read must not change rows")
        return self._execute(statement, params)

    def _execute(self, statement: Executable, params: Any) -> Rows:
        if not self._open:
            raise RuntimeError("the unit is over")
        try:
            return self._conn.execute(statement, params)
        except IntegrityError as error:
            raise violation(error) from error
        except StatementError as error:
            # A value that could not be made ready to be sent.
            raise error.orig if isinstance(error.orig, WegentError) else error from None
        except OverflowError:
            raise InvalidPayload("a number does not fit the database") from None

    def _one(self, record: Callable[..., R], statement: Executable, **params: Any) -> R | None:
        row = self._read(statement, **params).first()
        return None if row is None else record(*row)

    def _all(self, record: Callable[..., R], statement: Executable, **params: Any) -> list[R]:
        return [record(*row) for row in self._read(statement, **params)]

    def _change(self, record: Callable[..., R], of: Table, keys: dict[str, Any], changes: dict[str, Any]) -> R | None:
        """Change a row by its keys; the row as it is then."""
        names = tuple(keys)
        if self._returning:
            statement = sql.update_returning(of, record, names, tuple(changes))
            row = self._write(statement, sql.update_params(keys, changes)).first()
        else:
            for portion in _portions(changes):
                self._write(sql.update_by(of, names, tuple(portion)), sql.update_params(keys, portion))
            row = self._read(sql.select_by(of, record, names), **sql.update_params(keys, {})).first()
        return None if row is None else record(*row)

    def _insert(self, of: Table, row: R, **more: Any) -> R:
        """Insert a record that has no id yet; the record with the id it got."""
        params = params_of(row) | more
        del params["id"]
        key = self._write(sql.INSERTS[of], params).inserted_primary_key
        assert key is not None
        return attrs.evolve(row, id=key[0])  # type: ignore[misc]


def _portions(changes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The changes for one statement each: MariaDB takes 16 MB at a time if nobody told it otherwise."""
    long = {name: value for name, value in changes.items() if isinstance(value, str) and len(value) > _LONG}
    short = {name: value for name, value in changes.items() if name not in long}
    if short:
        yield short
    for name, value in long.items():
        yield {name: value}


def params_of(row: Any) -> dict[str, Any]:
    """A record as the parameters of its insert."""
    return {each.name: getattr(row, each.name) for each in attrs.fields(row.__class__)}


def found(row: R | None, what: str) -> R:
    """The row; raises `NotFound` where there is none."""
    if row is None:
        raise NotFound(f"no such {what}")
    return row
