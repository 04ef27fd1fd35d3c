"""How a task's status follows from its rows (protocol §5)."""

from __future__ import annotations

from attrs import frozen

from wegent.protocol.status import Status
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask, Task


@frozen
class TaskView:
    """A task, and who hears of it: its owner and active members."""

    task: Task
    audience: tuple[int, ...]


def view(unit: Unit, task: Task) -> TaskView:
    """The task with its audience."""
    members = unit.members(task.id) if task.is_group_chat else ()
    return TaskView(task, (task.owner_id, *(m.user_id for m in members if m.user_id != task.owner_id)))


def settle(unit: Unit, task: Task) -> TaskView:
    """Give the task, as its unit has touched it, the status that its rows imply; the last step of a unit."""
    status, progress = _implied(unit, task.id)
    done = status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
    if (task.status, task.progress) != (status.value, progress):
        completed = task.updated_at if done else None
        task = unit.update_task(task.id, status=status.value, progress=progress, completed_at=completed)
    return view(unit, task)


def _implied(unit: Unit, task_id: int) -> tuple[Status, int]:
    rows = unit.unfinished(task_id)
    for row in rows:
        if Status(row.status).active:
            return Status(row.status), row.progress
    if rows:
        return Status.PENDING, 0
    newest = unit.newest_answer(task_id)
    if newest is None:
        return Status.COMPLETED, 100
    return Status(newest.status), 100 if newest.status == Status.COMPLETED else newest.progress


def is_terminal(row: Subtask) -> bool:
    """Whether the row's attempt has ended."""
    return Status(row.status).terminal
