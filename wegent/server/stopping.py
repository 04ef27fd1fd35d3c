"""Runs are asked to end: by `chat:cancel`, or to make way for another one (protocol §3, §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, Conflict, TaskRunning
from wegent.core.model import Principal
from wegent.core.remote import RemoteRuns
from wegent.core.runs import Runs
from wegent.protocol.chat import ChatCancelAck
from wegent.protocol.status import IfRunning, Status
from wegent.server.access import controllable_run
from wegent.server.elsewhere import Elsewhere
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, is_terminal, settle
from wegent.server.telling import Teller

Stop = Callable[[int, int], object]
"""Reaches a run itself: `stop(subtask_id, attempt)`."""


def stopper_of(runs: Runs, remote: RemoteRuns, elsewhere: Elsewhere | None = None) -> Callable[[int, int], bool]:
    """What reaches a run, wherever it is: by row and attempt; whether this worker knew of it."""

    def stop(subtask_id: int, attempt: int) -> bool:
        known = runs.cancel(subtask_id, attempt) or remote.cancel(subtask_id, attempt)
        if not known and elsewhere is not None:
            elsewhere.stop(subtask_id, attempt)
        return known

    return stop


class Cancelling:
    """Cancels runs: the row says so first, then the run hears of it."""

    def __init__(self, store: Store, clock: Clock, teller: Teller, stop: Stop) -> None:
        self._store = store
        self._clock = clock
        self._teller = teller
        self._stop = stop

    async def cancel(self, principal: Principal, subtask_id: int, *, ack: Callable[[ChatCancelAck], None]) -> None:
        """Commit CANCELLING (or CANCELLED, for a row that still waits), ack, tell, and reach the run."""
        row, view = await self._store.write(lambda unit: self._commit(unit, principal, subtask_id))
        ack(ChatCancelAck(status=Status(row.status)))
        if view is not None:
            if is_terminal(row):
                self._teller.ending(row, view)
            else:
                self._teller.status(view)
        self._stop(row.id, row.attempt)

    def _commit(self, unit: Unit, principal: Principal, subtask_id: int) -> tuple[Subtask, TaskView | None]:
        row = controllable_run(unit, principal, subtask_id)
        task = unit.touch(row.task_id)
        row = controllable_run(unit, principal, subtask_id)
        if is_terminal(row):
            message = f"this answer is {row.status} already"
            raise Conflict(message)
        if row.status == Status.CANCELLING:
            return row, None
        row = ask_to_stop(unit, row, task=task, clock=self._clock)
        return row, settle(unit, task)


def make_way(unit: Unit, principal: Principal, task: Task, if_running: IfRunning, clock: Clock) -> tuple[Subtask, ...]:
    """What happens to unfinished runs of the task when another one is asked for (protocol §3, active runs)."""
    unfinished = unit.unfinished(task.id)
    if not unfinished or if_running is IfRunning.QUEUE:
        return ()
    if if_running is IfRunning.REJECT:
        message = "the task has a run already; wait for it, cancel it, or send with if_running queue or interrupt"
        raise TaskRunning(message)
    if any(principal.user_id not in (task.owner_id, row.sender_id) for row in unfinished):
        message = "only the task's owner, or who sent the message, may interrupt its run"
        raise AccessDenied(message)
    return tuple(ask_to_stop(unit, row, task=task, clock=clock) for row in unfinished)


def ask_to_stop(unit: Unit, row: Subtask, *, task: Task, clock: Clock) -> Subtask:
    """A row that waits is CANCELLED at once; one that runs is CANCELLING from now on."""
    if row.status == Status.PENDING:
        return unit.update_subtask(row.id, task=task, status=Status.CANCELLED.value, completed_at=clock.now())
    if row.status == Status.RUNNING:
        return unit.update_subtask(row.id, task=task, status=Status.CANCELLING.value)
    return row


def reach(stop: Stop | None, rows: Iterable[Subtask]) -> None:
    """Tell the runs of rows that are CANCELLING by now."""
    for row in rows:
        if stop is not None and not is_terminal(row):
            stop(row.id, row.attempt)
