"""Corrections as their answers' rows keep them, in `result`, under one key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wegent.codec import convert
from wegent.core.errors import Conflict, NotFound
from wegent.core.model import Principal
from wegent.protocol.correction import CorrectionItem, CorrectionResult, CorrectionStatus
from wegent.protocol.status import Role, Status
from wegent.server.access import visible_answer
from wegent.server.correction_telling import CORRECTION
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import settle

MOST = 100_000
"""Code points of an answer, and of its question, that are checked."""


def checkable(unit: Unit, task: Task, subtask_id: int) -> tuple[Subtask, str]:
    """An answer of the task that can be checked, and its question.

    Raises:
        NotFound: the task has no such answer.
        Conflict: it is not whole, says nothing, or is too long.
    """
    row = unit.subtask(subtask_id)
    if row is None or row.deleted or row.task_id != task.id or row.role != Role.ASSISTANT:
        message = f"task {task.id} has no answer {subtask_id}"
        raise NotFound(message)
    if row.status != Status.COMPLETED or not row.content.strip():
        message = f"this answer is {row.status}; one that is COMPLETED, and says something, can be checked"
        raise Conflict(message)
    asked = None if row.answers is None else unit.subtask(row.answers)
    question = "" if asked is None else asked.prompt
    if len(row.content) > MOST or len(question) > MOST:
        message = f"an answer and its question may have {MOST} characters each to be checked"
        raise Conflict(message)
    return row, question


def item_of(row: Subtask) -> CorrectionItem:
    """The correction of a row that has one."""
    kept = row.result[CORRECTION]
    result = kept.get("result")
    return CorrectionItem(
        task_id=row.task_id,
        subtask_id=row.id,
        status=CorrectionStatus(kept["status"]),
        correction_model=kept["correction_model"],
        started_at=datetime.fromisoformat(kept["started_at"]),
        result=None if result is None else convert(result, CorrectionResult),
        applied=bool(kept.get("applied")),
    )


def corrected(unit: Unit, principal: Principal, subtask_id: int) -> Subtask:
    """An answer that has a correction, if the principal sees its task; raises `NotFound`, `AccessDenied`."""
    row = visible_answer(unit, principal, subtask_id)
    if row is None:
        message = f"there is no answer {subtask_id}"
        raise NotFound(message)
    if CORRECTION not in row.result:
        message = f"answer {subtask_id} has no correction"
        raise NotFound(message)
    return row


def with_correction(unit: Unit, task: Task, row: Subtask, kept: Mapping[str, Any] | None) -> Subtask:
    """The row with that correction, or without any; the task has been touched."""
    rest = {name: value for name, value in row.result.items() if name != CORRECTION}
    row = unit.update_subtask(row.id, task=task, result=rest if kept is None else {**rest, CORRECTION: kept})
    settle(unit, task)
    return row


def applied(unit: Unit, task: Task, row: Subtask, *, now: datetime) -> Subtask:
    """The row with the improved answer, as its next attempt; raises `Conflict` where there is nothing to apply."""
    kept = row.result[CORRECTION]
    if kept["status"] != CorrectionStatus.DONE or kept.get("applied"):
        message = "this correction is applied already" if kept.get("applied") else "this correction is not done yet"
        raise Conflict(message)
    if row.status != Status.COMPLETED:
        message = f"this answer is {row.status}, so nothing can be put in its place"
        raise Conflict(message)
    improved = kept["result"]["improved_answer"]
    if not improved.strip() or improved == row.content:
        message = "the correction found nothing to improve"
        raise Conflict(message)
    values = tuple(
        {**value, "at": min(value["at"], len(improved))} if isinstance(value.get("at"), int) else value
        for value in row.values
    )
    return unit.update_subtask(
        row.id,
        task=task,
        attempt=row.attempt + 1,
        content=improved,
        values=values,
        result={**row.result, CORRECTION: {**kept, "applied": True}},
        completed_at=now,
    )
