"""Spans of statements: which table, what was done, how long it took; nothing of what was in them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Final

from sqlalchemy import Engine, event

from wegent.core.ports.tracing import Span, Tracer

_STATEMENT: Final = re.compile(
    r"\s*(?:WITH\b.*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE|REPLACE)\b(?:.*?\b(?:FROM|INTO)\b)?\s*[`\"]?(\w+)",
    re.IGNORECASE | re.DOTALL,
)
_KEY: Final = "wegent_span"


def trace_statements(engine: Engine, tracer: Tracer) -> None:
    """Make a span `db.query` of each statement whose unit was asked for within a span."""

    def before(conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if tracer.traceparent() is None:
            return
        stack = ExitStack()
        conn.info[_KEY] = (stack, stack.enter_context(tracer.span("db.query", about(statement))), perf_counter())

    def after(conn: Any, *_: Any) -> None:
        _end(conn)

    def failed(context: Any) -> None:
        if context.connection is not None:
            _end(context.connection, type(context.original_exception).__name__)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def _end(conn: Any, error: str = "") -> None:
    held: tuple[ExitStack, Span, float] | None = conn.info.pop(_KEY, None)
    if held is None:
        return
    stack, span, began = held
    span.set("duration", perf_counter() - began)
    if error:
        span.set("error.type", error)
    stack.close()


def about(statement: str) -> dict[str, str]:
    """The operation and the table of a statement, as attributes."""
    found = _STATEMENT.match(statement)
    if found is None:
        return {"operation": statement.split(None, 1)[0].upper()[:20] if statement.strip() else ""}
    return {"operation": found[1].upper(), "table": found[2].lower()}
