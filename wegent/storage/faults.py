"""What a driver's exception means: the three drivers' errors, mapped into the one error tree."""

from __future__ import annotations

import sqlite3
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, IntegrityError

from wegent.core.errors import Conflict, InvalidPayload, NotFound, StoreAway, WegentError

# https://mariadb.com/kb/en/mariadb-error-codes/ and the client's own from 2000 on
_MYSQL_RACE: Final = frozenset({1213, 1020})
_MYSQL_BUSY: Final = frozenset({1021, 1028, 1041, 1114, 1205, 1290, 1317, 1836, 1969, 3024})
_MYSQL_LOST: Final = frozenset({0, 1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1203, 1927})
_MYSQL_SETUP: Final = frozenset({1044, 1045, 1049, 1130, 1251, 1698})
_MYSQL_VALUE: Final = frozenset({1153, 1264, 1301, 1366, 1406})
_MYSQL_FOREIGN: Final = frozenset({1216, 1452})
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_RACE: Final = ("40001", "40P01")
_PG_BUSY: Final = ("57014", "25006", "53", "55P03")
_PG_LOST: Final = ("08", "57P", "53300", "25P03")
_PG_SETUP: Final = ("28", "3D000", "3F000")
_PG_VALUE: Final = ("22", "54")
_PG_FOREIGN: Final = "23503"
# A connection that was refused comes without a code.
_PG_REFUSALS: Final = ("does not exist", "authentication failed", "no pg_hba.conf entry", "not permitted to log in")
# https://www.sqlite.org/rescode.html
_SQLITE_BUSY: Final = frozenset({5, 6, 7, 9, 10, 13, 15})
_SQLITE_SETUP: Final = frozenset({3, 8, 14, 23, 26})
_SQLITE_VALUE: Final = frozenset({18, 20})
_SQLITE_FOREIGN: Final = sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY

AWAY: Final = "the database does not answer"
BUSY: Final = "the database is too busy, or takes no changes now"


class Fault(Enum):
    """What to do about it."""

    RACE = auto()  # the transaction was rolled back in favour of another: again
    LOST = auto()  # the connection is gone, or could not be made
    BUSY = auto()  # the database answers, but cannot do it now
    SETUP = auto()  # wrong password, no such database, no permission
    VALUE = auto()  # a value that a column cannot hold
    DEFECT = auto()  # ours


class LostRace(Conflict):
    """A unique key was taken. Perhaps since the unit looked: then the unit, run again, will see it."""


def diagnose(error: DBAPIError) -> Fault:
    """What the driver's exception means."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause)
    if _is_postgresql(cause):
        return _postgresql(cause.sqlstate, str(cause))
    return _mysql(_errno(cause))


def violation(error: IntegrityError) -> WegentError:
    """A unique key (`LostRace`) or a foreign key (`NotFound`) that an insert offended."""
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        foreign = cause.sqlite_errorcode == _SQLITE_FOREIGN
    elif _is_postgresql(cause):
        foreign = cause.sqlstate == _PG_FOREIGN
    else:
        foreign = _errno(cause) in _MYSQL_FOREIGN
    return NotFound("no such user or task") if foreign else LostRace("that name or id is taken")


def as_error(fault: Fault) -> WegentError | None:
    """What callers are told; None for a defect, which is raised as it is."""
    match fault:
        case Fault.LOST | Fault.SETUP:
            return StoreAway(AWAY)
        case Fault.BUSY | Fault.RACE:
            return StoreAway(BUSY)
        case Fault.VALUE:
            return InvalidPayload("a value does not fit the database")
        case Fault.DEFECT:
            return None


def _is_postgresql(cause: object) -> bool:
    # By name: neither driver need be installed, and both have an attribute `sqlstate`.
    return type(cause).__module__.partition(".")[0] == "psycopg"


def _sqlite(cause: sqlite3.Error) -> Fault:
    # Errors of the module itself, such as the use of a closed connection, carry no code.
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE_BUSY:
        return Fault.BUSY
    if code in _SQLITE_SETUP:
        return Fault.SETUP
    if code in _SQLITE_VALUE or isinstance(cause, sqlite3.DataError):
        return Fault.VALUE
    return Fault.DEFECT


def _errno(cause: Any) -> int | None:
    number = cause.args[0] if cause is not None and cause.args else None
    return number if isinstance(number, int) else None


def _mysql(number: int | None) -> Fault:
    match number:
        case None:
            return Fault.DEFECT
        case _ if number in _MYSQL_RACE:
            return Fault.RACE
        case _ if number in _MYSQL_BUSY:
            return Fault.BUSY
        case _ if number in _MYSQL_SETUP:
            return Fault.SETUP
        case _ if number in _MYSQL_VALUE:
            return Fault.VALUE
        case _ if number in _MYSQL_LOST or 2000 <= number < 3000:
            return Fault.LOST
    return Fault.DEFECT


def _postgresql(state: str | None, said: str) -> Fault:
    if state is None and any(refusal in said for refusal in _PG_REFUSALS):
        return Fault.SETUP
    if state is None or state.startswith(_PG_LOST):
        return Fault.LOST  # the client's own errors have no state: connection refused, closed, timed out
    for states, fault in (
        (_PG_RACE, Fault.RACE),
        (_PG_BUSY, Fault.BUSY),
        (_PG_SETUP, Fault.SETUP),
        (_PG_VALUE, Fault.VALUE),
    ):
        if state.startswith(states):
            return fault
    return Fault.DEFECT
