"""`task:close-session`: a device ends what it holds for a task (protocol §3)."""

from __future__ import annotations

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import Conflict, DeviceOffline
from wegent.core.model import Principal
from wegent.core.namespaces import Namespace
from wegent.core.remote import RemoteRuns
from wegent.core.sessions import Session
from wegent.protocol.events import TASK_CLOSE_SESSION
from wegent.protocol.tasks import Success, TaskCloseSession
from wegent.server.access import readable_task
from wegent.server.devices import Devices
from wegent.server.elsewhere import Elsewhere
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, is_terminal, settle
from wegent.server.stopping import Stop, ask_to_stop
from wegent.server.telling import Teller


@frozen
class _Stopped:
    """What was asked to stop; `view` is None where nothing was."""

    task: Task
    rows: tuple[Subtask, ...] = ()
    view: TaskView | None = None


class Closing:
    """Closes sessions: what the task runs is cancelled first, then its device is told."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        teller: Teller,
        stop: Stop,
        remote: RemoteRuns,
        devices: Devices,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._store = store
        self._clock = clock
        self._teller = teller
        self._stop = stop
        self._remote = remote
        self._devices = devices

    async def close(self, principal: Principal, task_id: int) -> Success:
        """Ask the task's runs to stop; the device is told when they have.

        Raises:
            NotFound, AccessDenied: there is no such task, or it is somebody else's.
            Conflict: it is no task of a device.
            DeviceOffline: there is nobody to be told; nothing was changed.
        """
        stopped = await self._store.write(lambda unit: self._commit(unit, principal, task_id))
        self._tell(stopped)
        return Success()

    def _commit(self, unit: Unit, principal: Principal, task_id: int) -> _Stopped:
        task = readable_task(unit, principal, task_id)
        if task.device_id is None:
            message = f"task {task_id} runs on no device, so no device holds a session for it"
            raise Conflict(message)
        device = unit.device(task.owner_id, task.device_id)
        if device is None or device.connection is None:
            raise DeviceOffline(_AWAY)
        if not unit.unfinished(task_id):
            return _Stopped(task)
        task = unit.touch(task_id)
        rows = tuple(ask_to_stop(unit, row, task=task, clock=self._clock) for row in unit.unfinished(task_id))
        return _Stopped(task, rows, settle(unit, task))

    def _tell(self, stopped: _Stopped) -> None:
        if stopped.view is not None:
            self._teller.stopped(stopped.rows, stopped.view)
        active = [row for row in stopped.rows if not is_terminal(row)]
        for row in active:
            self._stop(row.id, row.attempt)
        runs = [run for row in active if (run := self._remote.get(row.id)) is not None]
        link = self._devices.link(stopped.task.owner_id, stopped.task.device_id or "")
        if link is not None:
            link.close_session(stopped.task.id, runs)
        elif self._elsewhere is not None:
            device_id, ids = stopped.task.device_id or "", [row.id for row in active]
            self._elsewhere.close_session(stopped.task.owner_id, device_id, stopped.task.id, ids)
        else:
            raise DeviceOffline(_AWAY)


_AWAY = "the task's device is offline; close the session when it is back"


def add_close_session(chat: Namespace, closing: Closing) -> None:
    """Let people say it."""

    @chat.on(TASK_CLOSE_SESSION, lane=lambda payload: payload.task_id)
    async def close_session(session: Session, payload: TaskCloseSession) -> Success:
        return await closing.close(session.principal, payload.task_id)
