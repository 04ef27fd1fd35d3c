"""Executions as their users see them, by REST and as `background:execution_update`."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from wegent.core.rooms import Rooms
from wegent.protocol.events import EXECUTION_UPDATE
from wegent.protocol.executions import ExecutionItem, ExecutionUpdate
from wegent.protocol.status import Role, Status, TaskType
from wegent.server.ports.store import Unit
from wegent.server.records import Execution, Subtask
from wegent.server.telling import CHAT, user_room

EXECUTION = "execution_id"
"""The option of an answer's row that names the execution it belongs to."""
SUMMARY = 500
PROMPT = 1_000
"""Code points of an answer and of a prompt that an event shows."""


@frozen
class ExecutionView:
    """An execution, and the answer that it made last."""

    execution: Execution
    answer: Subtask | None

    @property
    def status(self) -> Status:
        """That of its latest run; PENDING before the first."""
        if self.execution.failed is not None:
            return Status.FAILED
        return Status.PENDING if self.answer is None else Status(self.answer.status)

    @property
    def updated_at(self) -> datetime:
        """When either changed last."""
        answered = self.answer.updated_at if self.answer is not None else self.execution.updated_at
        return max(self.execution.updated_at, answered)

    @property
    def summary(self) -> str | None:
        """The beginning of the answer, once it is there."""
        text = self.answer.content if self.answer is not None else ""
        return f"{text[: SUMMARY - 1]}…" if len(text) > SUMMARY else text or None

    @property
    def error(self) -> str | None:
        """Why its latest time made no task, or its run failed."""
        return self.execution.failed or (self.answer.error_message if self.answer is not None else None)

    def as_update(self) -> ExecutionUpdate:
        """As an event tells of it."""
        execution = self.execution
        return ExecutionUpdate(
            execution_id=execution.id,
            status=self.status,
            created_at=execution.created_at,
            updated_at=self.updated_at,
            task_id=execution.task_id,
            task_type=TaskType.TASK,
            prompt=execution.prompt[:PROMPT],
            result_summary=self.summary,
            error_message=self.error,
        )

    def as_item(self) -> ExecutionItem:
        """As REST tells of it."""
        execution = self.execution
        return ExecutionItem(
            id=execution.id,
            team_id=execution.team_id,
            prompt=execution.prompt,
            run_at=execution.run_at,
            cron=execution.cron,
            timezone=execution.timezone,
            next_at=execution.next_at,
            runs=execution.runs,
            status=self.status,
            task_id=execution.task_id,
            subtask_id=execution.subtask_id,
            result_summary=self.summary,
            error_message=self.error,
            created_at=execution.created_at,
            updated_at=self.updated_at,
        )


def view_of(unit: Unit, execution: Execution) -> ExecutionView:
    """The execution with its latest answer, if the user may still see that."""
    answer = None if execution.subtask_id is None else unit.subtask(execution.subtask_id)
    return ExecutionView(execution, answer if answer is not None and answer.role == Role.ASSISTANT else None)


class ExecutionTeller:
    """Tells users of their executions, each time after the commit."""

    __slots__ = ("_rooms",)

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def update(self, view: ExecutionView) -> None:
        """How it stands."""
        self._rooms.emit(CHAT, user_room(view.execution.user_id), EXECUTION_UPDATE, view.as_update())
