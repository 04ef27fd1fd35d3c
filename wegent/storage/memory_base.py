"""What units over the tables in memory begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from wegent.core.clock import Clock
from wegent.core.errors import NotFound
from wegent.server.ports.store import Unit
from wegent.storage import rules
from wegent.storage.memory_tables import Tables

R = TypeVar("R")


def found(row: R | None, what: str) -> R:
    """The row; raises `NotFound` where there is none."""
    if row is None:
        raise NotFound(f"no such {what}")
    return row


def plain(value: Any) -> Any:
    """The value as a database gives it back: a copy of its own, as JSON can say it."""
    return rules.load(rules.dump(value)) if value else value


def stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, checked, with what is JSON in a database made so here."""
    rules.check_texts(fields)
    kept = dict(fields)
    for name in ("app", "options", "result", "claims", "body"):
        if name in kept:
            kept[name] = plain(kept[name])
    for name in ("values", "contexts"):
        if name in kept:
            kept[name] = tuple(plain(each) for each in kept[name])
    return kept


class MemoryBase(Unit):
    """One unit; unusable once closed, and a reading one refuses to change anything."""

    __slots__ = ("_clock", "_open", "_t", "_writable")

    def __init__(self, tables: Tables, clock: Clock, *, writable: bool) -> None:
        self._t = tables
        self._clock = clock
        self._writable = writable
        self._open = True

    def close(self) -> None:
        """The transaction is over: a unit that was kept beyond it must not reach the rows."""
        self._open = False

    def _read(self) -> Tables:
        if not self._open:
            raise RuntimeError("the unit is over")
        return self._t

    def _write(self) -> Tables:
        if not self._writable:
            raise RuntimeError("a unit of Store.read must not change rows")
        return self._read()
