"""A task gets another title or an app to look at, is deleted, is marked as read (protocol §10)."""

from __future__ import annotations

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.model import Ending, EndingStatus, Principal
from wegent.protocol.blocks import App
from wegent.protocol.groups import MarkReadReply
from wegent.protocol.shape import to_wire
from wegent.server.access import owned_task, presentable_task, readable_task
from wegent.server.conditions import Condition, anything
from wegent.server.ending import end_row, saved_snapshot
from wegent.server.evicting import Evictions
from wegent.server.members import keep_owner
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, settle, view
from wegent.server.stopping import Stop
from wegent.server.telling import Teller
from wegent.server.unread import Unread, unread_of
from wegent.server.updates import Updates


@frozen
class _Deleted:
    """A deleted task, with those of its runs that this has ended."""

    view: TaskView
    ended: tuple[Subtask, ...]


@frozen
class _Read:
    """How far somebody has read; `view` is there where the task's row was changed for that."""

    task: Task
    unread: Unread
    view: TaskView | None


class Changing:
    """Changes of tasks that are no messages."""

    def __init__(
        self, store: Store, clock: Clock, teller: Teller, updates: Updates, evictions: Evictions, stop: Stop
    ) -> None:
        """`stop` reaches the runs of a task that is deleted."""
        self._store = store
        self._clock = clock
        self._teller = teller
        self._updates = updates
        self._evictions = evictions
        self._stop = stop

    async def rename(
        self, principal: Principal, task_id: int, title: str, condition: Condition[Task] = anything
    ) -> Task:
        """Give the task another title; the task as it is then.

        Raises:
            NotFound, AccessDenied: it is not the principal's own.

        And what `condition` raises.
        """

        def work(unit: Unit) -> TaskView:
            owned_task(unit, principal, task_id)
            condition(unit.touch(task_id))
            return settle(unit, unit.update_task(task_id, title=title))

        changed = await self._store.write(work)
        self._updates.titled(changed)
        self._teller.status(changed)
        return changed.task

    async def show(self, principal: Principal, task_id: int, app: App) -> Task:
        """Give the task something to look at, in place of what it had; the task as it is then.

        Raises:
            NotFound, AccessDenied: it is not the principal's own, nor that of the run whose token this is.
        """

        def work(unit: Unit) -> TaskView:
            presentable_task(unit, principal, task_id)
            touched = unit.touch(task_id)
            return settle(unit, unit.update_task(task_id, app={**to_wire(app), "revision": touched.revision}))

        changed = await self._store.write(work)
        self._teller.shown(changed.task)
        self._teller.status(changed)
        return changed.task

    async def delete(self, principal: Principal, task_id: int, condition: Condition[Task] = anything) -> None:
        """End the task's runs as CANCELLED, put everybody out of its room, and have nobody find it any more.

        Raises:
            NotFound, AccessDenied: it is not the principal's own.

        And what `condition` raises.
        """
        deleted = await self._store.write(lambda unit: self._delete(unit, principal, task_id, condition))
        self._teller.stopped(deleted.ended, deleted.view)
        for user_id in deleted.view.audience:
            self._evictions.evict(task_id, user_id)
            self._updates.gone(deleted.view.task, user_id)
        for row in deleted.ended:
            self._stop(row.id, row.attempt)

    def _delete(self, unit: Unit, principal: Principal, task_id: int, condition: Condition[Task]) -> _Deleted:
        owned_task(unit, principal, task_id)
        task, now = unit.touch(task_id), self._clock.now()
        condition(task)
        ended = tuple(
            end_row(unit, row, Ending(EndingStatus.CANCELLED), saved_snapshot(unit, row), now=now, task=task)
            for row in unit.unfinished(task_id)
        )
        settled = settle(unit, task)
        return _Deleted(view(unit, unit.update_task(settled.task.id, deleted=True)), ended)

    async def read(self, principal: Principal, task_id: int, message_id: int) -> MarkReadReply:
        """Mark everything up to a message as read, never less than before; the user's connections are told.

        Raises:
            NotFound, AccessDenied: the task is not open to the principal.
        """
        read = await self._store.write(lambda unit: self._read(unit, principal, task_id, message_id))
        self._updates.unread(read.task, [read.unread])
        if read.view is not None:
            self._teller.status(read.view)
        return MarkReadReply(message_id=read.unread.read, unread=read.unread.count)

    def _read(self, unit: Unit, principal: Principal, task_id: int, message_id: int) -> _Read:
        task, changed = readable_task(unit, principal, task_id), None
        member = unit.mark_read(task_id, principal.user_id, min(message_id, task.last_message_id))
        if member is None:  # the owner's first time: two who make their place at once would clash
            changed = settle(unit, unit.touch(task_id))
            task = changed.task
            keep_owner(unit, task, read_up_to=0)
            member = unit.mark_read(task_id, principal.user_id, min(message_id, task.last_message_id))
            assert member is not None
        return _Read(task, unread_of(unit, task, member), changed)
