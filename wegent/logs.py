"""The server's log: one line a record on stderr, for people or as JSON, with tokens made unreadable.

What is logged names things by their ids. Message texts, passwords and tokens are never handed to a logger; what slips
through in a foreign error's words and looks like a token is struck out here.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from wegent.codec import CodecError, encode
from wegent.core.text import clean

_TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]*(?:\.[\w-]*)?|(?i:bearer\s+)[\w.~+/=-]{8,}|\bsk-[\w-]{8,}")
_STRUCK = "[token]"
_KNOWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_QUIET = ("hypercorn.error", "hypercorn.access", "httpx", "httpcore", "alembic")
"""Loggers that say below WARNING only what nobody needs."""

Format = Literal["text", "json"]


def configure(format: Format = "text", level: str | int = "INFO", *, stream: TextIO | None = None) -> None:
    """Send all logging, and Python's warnings, to `stream` (stderr). Calling it again replaces what was before.

    Raises:
        ValueError: there is no such level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else TextLines())
    handler.addFilter(Redacting())
    root = logging.getLogger()
    root.setLevel(level.upper() if isinstance(level, str) else level)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def redact(text: str) -> str:
    """The text without what looks like a token."""
    return _TOKEN.sub(_STRUCK, text)


class Redacting(logging.Filter):
    """Strikes tokens out of a record's words, its traceback and its extra fields; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """The record is changed in place: it is formatted once here, and has no arguments any more."""
        record.msg, record.args = redact(_words(record)), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in extras(record).items():
            setattr(record, name, value if isinstance(value, bool | int | float | None) else redact(str(value)))
        return True


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that came with the record as `extra`."""
    return {name: value for name, value in record.__dict__.items() if name not in _KNOWN}


class TextLines(logging.Formatter):
    """`12:30:01.250 WARNING wegent.server.chat: words  task_id=7`, and the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; line breaks in its words are shown, not made."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        words = "\\n".join(_words(record).splitlines())
        fields = "".join(f"  {name}={value}" for name, value in extras(record).items())
        return "\n".join([f"{time} {record.levelname:<7} {record.name}: {words}{fields}", *_traceback(record)])


class JsonLines(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the extra fields, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; the record's own names count over extra fields of the same."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": clean(_words(record)),
        }
        line = {**extras(record), **line}
        if traceback := _traceback(record):
            line["traceback"] = clean("\n".join(traceback))
        try:
            return encode(line).decode()
        except CodecError:
            return encode({name: clean(str(value)) for name, value in line.items()}).decode()


def _words(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args}"


def _traceback(record: logging.LogRecord) -> list[str]:
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return [text for text in (record.exc_text, record.stack_info) if text]
