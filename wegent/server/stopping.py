"""`chat:cancel`: a run is asked to end (protocol §3, §7)."""

from __future__ import annotations

from collections.abc import Callable

from wegent.core.clock import Clock
from wegent.core.errors import Conflict
from wegent.core.model import Principal
from wegent.core.remote import RemoteRuns
from wegent.core.runs import Runs
from wegent.protocol.chat import ChatCancelAck
from wegent.protocol.status import Status
from wegent.server.access import controllable_run
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.sending import Stop, ask_to_stop
from wegent.server.status import TaskView, is_terminal, settle
from wegent.server.telling import Teller


def stopper_of(runs: Runs, remote: RemoteRuns) -> Callable[[int, int], bool]:
    """What reaches a run, wherever it is: by row and attempt; whether this worker knew of it."""

    def stop(subtask_id: int, attempt: int) -> bool:
        return runs.cancel(subtask_id, attempt) or remote.cancel(subtask_id, attempt)

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
