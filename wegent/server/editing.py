"""A message is edited: it goes, with all that came after it, and another takes its place (protocol §10)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from wegent.codec import convert
from wegent.core.errors import AccessDenied, Conflict, NotFound
from wegent.core.model import Principal
from wegent.protocol.chat import ChatSend, ChatSendAck
from wegent.protocol.groups import EditMessage
from wegent.protocol.status import Role
from wegent.server.access import readable_task
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.sending import Sending, Sent, check
from wegent.server.status import settle
from wegent.server.unread import unread_of_all
from wegent.server.updates import Updates

OTHERS = 100
"""Later rows that are looked at for messages of others."""


@frozen
class Editing:
    """Sends edited messages, as `Sending` sends new ones."""

    store: Store
    sending: Sending
    updates: Updates

    async def edit(
        self,
        principal: Principal,
        task_id: int,
        subtask_id: int,
        edit: EditMessage,
        *,
        ack: Callable[[ChatSendAck], None],
    ) -> Sent:
        """Remove the message and every later row, and send the new one with what went with the old one, in one commit.

        Raises:
            NotFound, AccessDenied: the message is not there, or not the principal's to edit.
            Conflict: a run is under way.
        """
        sent = await self.store.write(lambda unit: self._commit(unit, principal, task_id, subtask_id, edit))
        self.sending.tell(sent, ack)
        if not sent.repeat:
            self.updates.rows_removed(sent.view)
        return sent

    def _commit(self, unit: Unit, principal: Principal, task_id: int, subtask_id: int, edit: EditMessage) -> Sent:
        task = readable_task(unit, principal, task_id)
        if edit.client_message_id is not None and unit.sent(principal.user_id, edit.client_message_id) is not None:
            return self.sending.commit(unit, principal, _again(task, edit, {}))
        row = _editable(unit, principal, task, subtask_id)
        _check_rest(unit, task)
        sent = self.sending.commit(unit, principal, _again(task, edit, _asked(unit, row)), row.contexts)
        _editable(unit, principal, task, subtask_id)  # again, now that nobody else changes the task's rows
        _check_rest(unit, task, but=sent.answer)
        return _without(unit, sent, row)


def _without(unit: Unit, sent: Sent, row: Subtask) -> Sent:
    """What was sent, in a task that lacks the message that it stands for, and all that came between."""
    task = sent.view.task
    unit.remove_subtasks(task, since=row.message_id, until=sent.message.message_id)
    unread = unread_of_all(unit, task) if task.is_group_chat else ()
    return evolve(sent, view=settle(unit, task), unread=unread)


def _again(task: Task, edit: EditMessage, asked: Mapping[str, Any]) -> ChatSend:
    fields = {"task_id": task.id, "team_id": task.team_id, "message": edit.message}
    payload = convert({**fields, "client_message_id": edit.client_message_id, **asked}, ChatSend)
    check(payload)
    return payload


def _asked(unit: Unit, row: Subtask) -> dict[str, Any]:
    """How the old message's answer was asked for."""
    asked: dict[str, Any] = {}
    later = unit.subtasks(row.task_id, after_message_id=row.message_id, limit=OTHERS)
    answer = next((each for each in later if each.answers == row.id), None)
    if answer is not None:
        asked |= {
            "enable_deep_thinking": bool(answer.options.get("deep_thinking", True)),
            "enable_web_search": bool(answer.options.get("web_search")),
            "force_override_bot_model": answer.options.get("model"),
            "on_lost": answer.on_lost,
        }
    return asked


def _editable(unit: Unit, principal: Principal, task: Task, subtask_id: int) -> Subtask:
    row = unit.subtask(subtask_id)
    if row is None or row.deleted or row.task_id != task.id or row.role != Role.USER:
        message = f"task {task.id} has no message {subtask_id} to be edited; answers are tried again instead"
        raise NotFound(message)
    if row.sender_id != principal.user_id:
        message = "only who sent a message may edit it"
        raise AccessDenied(message)
    if task.owner_id != principal.user_id and _others_follow(unit, row):
        message = "messages of others came after this one, so only the task's owner could remove them"
        raise AccessDenied(message)
    return row


def _check_rest(unit: Unit, task: Task, *, but: Subtask | None = None) -> None:
    if any(but is None or row.id != but.id for row in unit.unfinished(task.id)):
        message = "a run of this task is under way; wait for its end or cancel it, then edit"
        raise Conflict(message)


def _others_follow(unit: Unit, row: Subtask) -> bool:
    later = unit.subtasks(row.task_id, after_message_id=row.message_id, limit=OTHERS)
    return len(later) == OTHERS or any(each.role == Role.USER and each.sender_id != row.sender_id for each in later)
