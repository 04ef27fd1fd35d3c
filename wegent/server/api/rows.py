"""Rows of a task as REST tells them: whole, never cut; a page ends where its texts become too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import attrs
from attrs import frozen

from wegent.protocol.limits import DEFAULT_PAGE, MAX_PAGE, MAX_STREAM
from wegent.protocol.status import Status
from wegent.protocol.tasks import Row
from wegent.server.ending import saved_snapshot
from wegent.server.payloads import row_payload, values_of
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask

PAGE_TEXT = 8_000_000
"""Code points of all rows of a page, past which it ends; one row comes whatever its size."""
_BATCH = 8
_WHOLE = 16 * MAX_STREAM
"""A budget in bytes that no text of a row reaches."""


@frozen(kw_only=True)
class RowsAsked:
    """Which rows: after a message, or before one, or the newest; bounds are exclusive."""

    DEFAULT: ClassVar[int] = DEFAULT_PAGE
    MOST: ClassVar[int] = MAX_PAGE

    after_message_id: int | None = None
    before_message_id: int | None = None
    limit: int = DEFAULT_PAGE


@frozen
class RowsPage:
    """Rows in order of `message_id`; `has_more`: there are others in the direction that was asked for."""

    rows: list[Row]
    has_more: bool


def read_rows(unit: Unit, task_id: int, asked: RowsAsked) -> RowsPage:
    """A page of a task's rows; of a run that is under way, what was saved of it so far."""
    found: list[Subtask] = []
    size, more = 0, False
    for row in _walk(unit, task_id, asked):
        size += len(row.content) + len(row.prompt) + len(row.thinking)
        if len(found) == asked.limit or (found and size > PAGE_TEXT):
            more = True
            break
        found.append(row)
    found.sort(key=lambda row: row.message_id)
    return RowsPage([row_payload(row, budget=_WHOLE) for row in found], more)


def _walk(unit: Unit, task_id: int, asked: RowsAsked) -> Iterator[Subtask]:
    """Rows one by one, read a few at a time: upwards from `after_message_id`, else downwards from the end."""
    after, before = asked.after_message_id, asked.before_message_id
    newest = after is None
    while True:
        rows = unit.subtasks(task_id, after_message_id=after, before_message_id=before, limit=_BATCH, newest=newest)
        for row in reversed(rows) if newest else rows:
            yield _with_saved(unit, row)
        if len(rows) < _BATCH:
            return
        if newest:
            before = rows[0].message_id
        else:
            after = rows[-1].message_id


def _with_saved(unit: Unit, row: Subtask) -> Subtask:
    if not Status(row.status).active:
        return row
    saved = saved_snapshot(unit, row)
    content, thinking = saved.texts.get("content", ""), saved.texts.get("thinking", "")
    return attrs.evolve(row, content=content, thinking=thinking, values=values_of(saved.values))
