"""Who may do what to a task."""

from __future__ import annotations

from wegent.core.errors import AccessDenied, NotFound
from wegent.core.model import Principal
from wegent.protocol.auth import Scope
from wegent.protocol.status import Role
from wegent.server.owners import OwnerKind, kind_of, targets_of
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask, Task


def may_see(unit: Unit, principal: Principal, task: Task) -> bool:
    """Owners and active members; nobody sees a deleted task."""
    if task.deleted:
        return False
    if task.owner_id == principal.user_id:
        return True
    member = unit.member(task.id, principal.user_id) if task.is_group_chat else None
    return member is not None and member.removed_at is None


def readable_task(unit: Unit, principal: Principal, task_id: int) -> Task:
    """The task, if the principal may see it.

    Raises:
        NotFound: there is none, or it is deleted.
        AccessDenied: it is somebody else's.
    """
    task = unit.task(task_id)
    if task is None or task.deleted:
        message = f"there is no task {task_id}"
        raise NotFound(message)
    if not may_see(unit, principal, task):
        message = f"task {task_id} belongs to somebody else"
        raise AccessDenied(message)
    return task


def owned_task(unit: Unit, principal: Principal, task_id: int) -> Task:
    """The task, if it is the principal's own.

    Raises:
        NotFound: there is none, or it is deleted.
        AccessDenied: it is somebody else's, also where the principal is a member.
    """
    task = readable_task(unit, principal, task_id)
    if task.owner_id != principal.user_id:
        message = "only the task's owner may do that"
        raise AccessDenied(message)
    return task


def presentable_task(unit: Unit, principal: Principal, task_id: int) -> Task:
    """The task, if the principal may say what is to be looked at in it: its owner, and its runs.

    Raises:
        NotFound: there is none, or it is deleted.
        AccessDenied: it is somebody else's, also where the principal is a member.
    """
    if principal.scope == Scope.RUN:
        return task_with_rows(unit, principal, task_id)
    return owned_task(unit, principal, task_id)


def task_with_rows(unit: Unit, principal: Principal, task_id: int) -> Task:
    """The task, if the principal may read its rows: a run its own task's, an executor host those that it runs.

    Raises:
        NotFound: there is none, or it is deleted.
        AccessDenied: it is somebody else's.
    """
    if principal.scope == Scope.RUN:
        allowed = principal.claims.get("task_id") == task_id
    elif principal.scope == Scope.EXECUTOR:
        targets = targets_of(principal.claims)
        allowed = any(
            row.target in targets and row.owner and kind_of(row.owner) is OwnerKind.HOST
            for row in unit.unfinished(task_id)
        )
    else:
        return readable_task(unit, principal, task_id)
    if not allowed:
        message = f"this token is for the task of its own run, not for {task_id}"
        raise AccessDenied(message)
    task = unit.task(task_id)
    if task is None or task.deleted:
        message = f"there is no task {task_id}"
        raise NotFound(message)
    return task


def visible_answer(unit: Unit, principal: Principal, subtask_id: int) -> Subtask | None:
    """The ASSISTANT row, None if there is none.

    Raises:
        AccessDenied: it is somebody else's; which task it belongs to is not told.
    """
    row = unit.subtask(subtask_id)
    task = None if row is None else unit.task(row.task_id)
    if row is None or row.deleted or row.role != Role.ASSISTANT or task is None or task.deleted:
        return None
    if not may_see(unit, principal, task):
        message = f"answer {subtask_id} belongs to somebody else"
        raise AccessDenied(message)
    return row


def controllable_run(unit: Unit, principal: Principal, subtask_id: int) -> Subtask:
    """The ASSISTANT row, if the principal may cancel and retry it: the task's owner, or who sent what it answers.

    Raises:
        NotFound: there is no such ASSISTANT row.
        AccessDenied: it is not the principal's to control.
    """
    row = visible_answer(unit, principal, subtask_id)
    if row is None:
        message = f"there is no answer {subtask_id} to be cancelled or tried again"
        raise NotFound(message)
    task = readable_task(unit, principal, row.task_id)
    if principal.user_id not in (task.owner_id, row.sender_id):
        message = "only the task's owner, or who sent the message, may do that"
        raise AccessDenied(message)
    return row
