"""Column types that mean the same on SQLite, MariaDB, MySQL and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from wegent.storage import rules

# SQLite numbers rows by itself only in a column that is declared INTEGER; it holds 64 bits there all the same.
BigId = BigInteger().with_variant(Integer(), "sqlite")

# TEXT of MariaDB and MySQL ends at 64 KB.
LongText = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


class Moment(TypeDecorator[datetime]):
    """An aware datetime, to the microsecond; kept in UTC, and given back in UTC."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Microseconds and, where there are any, time zones."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """To SQLite's text in one step, for rows hold many times."""
        return _to_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """From SQLite's text in one step."""
        return _from_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A naive datetime is a defect of the caller."""
        if value is None:
            return None
        return _aware(value) if dialect.name == "postgresql" else _in_utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """As it was given, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise TypeError("a time without a time zone")
    return value


def _in_utc(value: datetime) -> datetime:
    return _aware(value).astimezone(UTC).replace(tzinfo=None)


def _to_text(value: datetime | None) -> str | None:
    return None if value is None else _in_utc(value).isoformat(" ", "microseconds")


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)


class Json(TypeDecorator[Any]):
    """A JSON value in a text column: it is read whole or not at all, so no database need understand it."""

    impl = LongText
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Written by the one encoder there is."""
        return rules.dump

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """What was written."""
        return rules.load


class MaybeJson(Json):
    """The same, or nothing."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Nothing stays nothing."""
        return lambda value: None if value is None else rules.dump(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """What was written, if it was."""
        return lambda text: None if text is None else rules.load(text)


class JsonList(Json):
    """The same, where rows hold a tuple."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """As a tuple."""
        return lambda text: tuple(rules.load(text))
