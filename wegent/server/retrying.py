"""`chat:retry`: an answer that failed or was cancelled is made again (protocol §3, §5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import Conflict, NotFound
from wegent.core.model import Principal
from wegent.protocol.chat import ChatRetry, ChatRetryAck
from wegent.protocol.status import RunReason, Status
from wegent.server.access import controllable_run
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.sending import RELEASE_AFTER, Release
from wegent.server.specs import model_of
from wegent.server.status import TaskView, settle
from wegent.server.stopping import Stop, make_way, reach
from wegent.server.targets import Targets
from wegent.server.teams import TeamSetup, setup_of
from wegent.server.telling import Teller

ENDED = (Status.FAILED, Status.CANCELLED)


@frozen
class _Retried:
    row: Subtask
    view: TaskView
    stopping: tuple[Subtask, ...]


class Retrying:
    """Queues the next attempt of a row.

    The row says nothing from the commit on: what the attempt before had said belongs to that attempt. Who views the
    task keeps it on the screen until the next attempt's `chat:start`.
    """

    def __init__(
        self, store: Store, clock: Clock, teller: Teller, release: Release, targets: Targets, *, stop: Stop
    ) -> None:
        """`release` makes a row's run begin, `stop` makes one end that is interrupted."""
        self._store = store
        self._clock = clock
        self._teller = teller
        self._release = release
        self._targets = targets
        self._stop = stop

    async def retry(self, principal: Principal, payload: ChatRetry, *, ack: Callable[[ChatRetryAck], None]) -> None:
        """Commit, then in one plain step: ack, tell, reach those that make way, release."""
        retried = await self._store.write(lambda unit: self._commit(unit, principal, payload))
        ack(ChatRetryAck(attempt=retried.row.attempt))
        self._teller.stopped(retried.stopping, retried.view)
        reach(self._stop, retried.stopping)
        self._release(retried.row)

    def _commit(self, unit: Unit, principal: Principal, payload: ChatRetry) -> _Retried:
        _run_of(unit, principal, payload)
        task = unit.touch(payload.task_id)
        row = _run_of(unit, principal, payload)
        if Status(row.status) not in ENDED:
            message = f"this answer is {row.status}; one that FAILED or was CANCELLED can be tried again"
            raise Conflict(message)
        asked = model_of(row)
        if payload.use_model_override:
            asked = {"model": payload.force_override_bot_model, "asked_by": principal.user_id}
        setup = _setup_of(unit, task, asked)
        target = self._targets.again(unit, principal, setup, row.target)
        stopping = make_way(unit, principal, task, payload.if_running, self._clock)
        row = unit.update_subtask(
            row.id,
            task=task,
            status=Status.PENDING.value,
            attempt=row.attempt + 1,
            lost_attempts=0,
            reason=RunReason.RETRY.value,
            progress=0,
            content="",
            thinking="",
            values=(),
            result={},
            error_message=None,
            error_type=None,
            lease=None,
            reported=False,
            bot_name=setup.bot_name,
            shell_type=setup.shell_type,
            target=target,
            options={**row.options, "model": asked["model"], "model_by": asked["asked_by"]},
            claimable_at=self._clock.now() + RELEASE_AFTER,
            started_at=None,
            completed_at=None,
        )
        return _Retried(row, settle(unit, task), stopping)


def _setup_of(unit: Unit, task: Task, asked: dict[str, Any]) -> TeamSetup:
    """What stands behind the task's team now."""
    team = unit.kind(task.team_id)
    if team is None:
        message = f"team {task.team_id} of this task is no more"
        raise NotFound(message)
    return setup_of(unit, team, **asked)


def _run_of(unit: Unit, principal: Principal, payload: ChatRetry) -> Subtask:
    row = controllable_run(unit, principal, payload.subtask_id)
    if row.task_id != payload.task_id:
        message = f"task {payload.task_id} has no answer {payload.subtask_id}"
        raise NotFound(message)
    return row
