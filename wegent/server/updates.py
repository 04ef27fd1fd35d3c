"""What people's lists of tasks are told, beside a task's status: titles, members, what is unread (protocol §4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from wegent.core.rooms import Rooms
from wegent.protocol.events import SYNC_REQUIRED, TASK_CREATED, TASK_UPDATED
from wegent.protocol.tasks import Member, SyncRequired, TaskUpdated
from wegent.server import payloads
from wegent.server.order import Order
from wegent.server.records import Task
from wegent.server.status import TaskView
from wegent.server.telling import CHAT, task_room, user_room
from wegent.server.unread import Unread


class Updates:
    """Tells the user rooms, each in the plain step after its commit; nothing older after what is newer."""

    __slots__ = ("_order", "_rooms")

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._order: Order[tuple[str, int, int]] = Order()

    def created(self, task: Task, user_id: int) -> None:
        """A task is new to somebody who was added to it; if its title is another by now, they read it again."""
        if self._order.is_past(("gone", task.id, user_id), task.revision):
            return
        self._tell(user_id, task.id, TASK_CREATED, payloads.task_created(task))
        if self._order.is_past(("title", task.id, 0), task.revision):
            self._tell(user_id, task.id, SYNC_REQUIRED, SyncRequired(scope=user_room(user_id)))

    def titled(self, view: TaskView) -> None:
        """A task has another title."""
        if self._order.admits(("title", view.task.id, 0), view.task.revision):
            self._tell_all(view, TaskUpdated(task_id=view.task.id, title=view.task.title))

    def members(self, view: TaskView, members: Sequence[Member]) -> None:
        """Other people than before are in a task."""
        if self._order.admits(("members", view.task.id, 0), view.task.revision):
            self._tell_all(view, TaskUpdated(task_id=view.task.id, members=tuple(members)))

    def gone(self, task: Task, user_id: int) -> None:
        """A task is no more, for this user; how it was before is not told after this."""
        self._order.admits(("gone", task.id, user_id), task.revision)
        self._tell(user_id, task.id, TASK_UPDATED, TaskUpdated(task_id=task.id, deleted=True), after=task.revision)

    def unread(self, task: Task, counts: Iterable[Unread]) -> None:
        """How much each of these users has not read, as of the task's revision."""
        for each in counts:
            if self._order.admits(("unread", task.id, each.user_id), task.revision, each.read):
                self._tell_of(task, each.user_id, TaskUpdated(task_id=task.id, unread=each.count))

    def rows_removed(self, view: TaskView) -> None:
        """Rows are gone, which no event of a row tells: whoever views the task is to join it again."""
        for user_id in view.audience:
            self._tell(user_id, view.task.id, SYNC_REQUIRED, SyncRequired(scope=task_room(view.task.id)))

    def _tell_all(self, view: TaskView, payload: TaskUpdated) -> None:
        for user_id in view.audience:
            self._tell_of(view.task, user_id, payload)

    def _tell_of(self, task: Task, user_id: int, payload: TaskUpdated) -> None:
        if not self._order.is_past(("gone", task.id, user_id), task.revision):
            self._tell(user_id, task.id, TASK_UPDATED, payload)

    def _tell(self, user_id: int, task_id: int, event: str, payload: Any, *, after: int | None = None) -> None:
        self._rooms.emit(CHAT, user_room(user_id), event, payload, behind=task_room(task_id), after=after)
