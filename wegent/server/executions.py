"""Background work: prompts that become ordinary tasks at once, later, or again and again (protocol §4, §10).

An execution's row says when it runs next. Whoever runs it moves that time and makes the task's rows in one unit, by
compare-and-set: so one time makes one task, whatever dies and however many workers look. What came of it is told by the
answer's row, and kept nowhere else.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import attrs
import trio
from attrs import frozen

from wegent.core.clock import Clock
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, NotFound, Overloaded, WegentError
from wegent.core.model import Principal
from wegent.protocol.chat import ChatSend
from wegent.protocol.executions import ExecutionRequest
from wegent.protocol.status import TaskType
from wegent.server.conditions import Condition, anything
from wegent.server.execution_view import EXECUTION, ExecutionTeller, ExecutionView, view_of
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Execution, Subtask
from wegent.server.schedule import in_utc, next_time
from wegent.server.sending import Sending, Sent
from wegent.server.teams import team_of

log = logging.getLogger(__name__)
SCAN_EVERY = 5.0
"""Seconds between looks that nobody asked for: other workers make executions too, and wall clocks are set."""
AGAIN_AFTER = 1.0
BATCH = 20
MOST_HEARD = 10_000


@frozen
class Fired:
    """An execution whose time has come, and the message that it sent."""

    execution: Execution
    sent: Sent


class Executions:
    """Keeps executions, and runs them when their time comes. `run` is its life."""

    def __init__(
        self, store: Store, clock: Clock, sending: Sending, teller: ExecutionTeller, *, per_user: int = 100
    ) -> None:
        """`per_user` is how many executions of a user may have a time ahead of them."""
        self._store = store
        self._clock = clock
        self._sending = sending
        self._teller = teller
        self._per_user = per_user
        self._nudged = trio.Event()
        self._heard: dict[int, None] = {}
        self._news = trio.Event()
        self.paused = False
        """While set, nothing is begun."""

    # what people ask

    async def make(self, principal: Principal, asked: ExecutionRequest) -> ExecutionView:
        """A new one.

        Raises:
            InvalidPayload: no such time.
            NotFound, AccessDenied: no such team, or not for them.
            Conflict: as many wait as may.
        """
        next_at = self._first(asked)

        def work(unit: Unit) -> ExecutionView:
            team_of(unit, principal, asked.team_id)
            if unit.count_scheduled(principal.user_id) >= self._per_user:
                message = f"{self._per_user} executions wait already, which is as many as a user may have"
                raise Conflict(message)
            return view_of(unit, unit.add_execution(user_id=principal.user_id, next_at=next_at, **_fields(asked)))

        return self._changed(await self._store.write(work))

    async def change(
        self,
        principal: Principal,
        execution_id: int,
        asked: ExecutionRequest,
        condition: Condition[Execution] = anything,
    ) -> ExecutionView:
        """Replace what one that still has a time ahead does, and when.

        Raises:
            NotFound: it is not the principal's.
            Conflict: its time has come.

        And what `condition` raises.
        """
        next_at = self._first(asked)

        def work(unit: Unit) -> ExecutionView:
            row = _held(unit, principal, execution_id)
            condition(row)
            team_of(unit, principal, asked.team_id)
            if row.next_at is None:
                message = f"execution {execution_id} has run, or runs just now; make a new one"
                raise Conflict(message)
            return view_of(unit, unit.update_execution(row.id, **_fields(asked), next_at=next_at, failed=None))

        return self._changed(await self._store.write(work))

    async def delete(self, principal: Principal, execution_id: int, condition: Condition[Execution] = anything) -> None:
        """Forget it; the tasks that it has made stay, and go on. Raises as `change`."""

        def work(unit: Unit) -> None:
            condition(_held(unit, principal, execution_id))
            unit.delete_execution(execution_id)

        await self._store.write(work)

    async def get(self, principal: Principal, execution_id: int) -> ExecutionView:
        """One of the principal's."""
        return await self._store.read(lambda unit: view_of(unit, own(unit, principal, execution_id)))

    async def page(self, principal: Principal, *, before_id: int | None, limit: int) -> list[ExecutionView]:
        """The principal's, newest first."""

        def read(unit: Unit) -> list[ExecutionView]:
            rows = unit.executions(principal.user_id, before_id=before_id, limit=limit)
            return [view_of(unit, row) for row in rows]

        return await self._store.read(read)

    def _first(self, asked: ExecutionRequest) -> datetime:
        now = self._clock.now()
        if not asked.prompt.strip():
            raise InvalidPayload("`prompt`: expected some text, got none")
        if asked.cron is None:
            if asked.timezone is not None:
                raise InvalidPayload("`timezone` goes with `cron`; `run_at` says its own zone")
            return now if asked.run_at is None else in_utc(asked.run_at)
        if asked.run_at is not None:
            raise InvalidPayload("expected `run_at` or `cron`, got both")
        found = next_time(asked.cron, asked.timezone, now)
        if found is None:
            raise InvalidPayload("`cron`: names no time that will ever come")
        return found

    def _changed(self, view: ExecutionView) -> ExecutionView:
        self._teller.update(view)
        self._nudged.set()
        return view

    # its life

    async def run(self) -> None:
        """Run what is due, and tell of what became of it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            while True:
                self._nudged = trio.Event()
                pause = await self._round()
                with trio.move_on_after(pause):
                    await self._nudged.wait()

    def hear(self, row: Subtask) -> None:
        """A run began or ended: tell of it, if it is an execution's."""
        execution_id = row.options.get(EXECUTION)
        if isinstance(execution_id, int) and len(self._heard) < MOST_HEARD:
            self._heard[execution_id] = None
            self._news.set()

    async def _round(self) -> float:
        """Run what is due; seconds until the next look."""
        if self.paused:
            await trio.lowlevel.checkpoint()
            return SCAN_EVERY
        try:
            due, next_at = await self._store.read(
                lambda unit: (unit.due_executions(self._clock.now(), limit=BATCH), unit.next_execution_at())
            )
            for execution in due:
                await self._run_one(execution)
        except Overloaded as error:
            log.warning("no executions are run: %s", error.sentence)
            return AGAIN_AFTER
        if due:
            return 0.0
        return SCAN_EVERY if next_at is None else min(SCAN_EVERY, next_at.timestamp() - self._clock.time())

    async def _run_one(self, execution: Execution) -> None:
        """Make the task of its present time, unless somebody else does; what can't be made is noted."""
        try:
            fired = await self._store.write(lambda unit: self._fire(unit, execution))
        except Overloaded:
            raise
        except WegentError as error:
            await self._fail(execution, error.sentence)
        except Exception:
            log.exception("execution %s failed", execution.id)
            await self._fail(execution, "the server failed at this; its log says more")
        else:
            if fired is not None:
                self._sending.tell(fired.sent, lambda _: None, None)
                self.hear(_answer(fired.sent))

    def _fire(self, unit: Unit, execution: Execution) -> Fired | None:
        assert execution.next_at is not None
        following = self._following(execution)
        taken = unit.take_execution(execution.id, execution.next_at, next_at=following, failed=None)
        if taken is None:
            return None
        payload = ChatSend(team_id=taken.team_id, message=taken.prompt, task_type=TaskType.TASK)
        sent = self._sending.commit(unit, _principal(unit, taken), payload)
        options = {**_answer(sent).options, EXECUTION: taken.id}
        answer = unit.update_subtask(_answer(sent).id, task=sent.view.task, options=options)
        made = unit.update_execution(taken.id, runs=taken.runs + 1, task_id=answer.task_id, subtask_id=answer.id)
        return Fired(made, attrs.evolve(sent, answer=answer))

    async def _fail(self, execution: Execution, sentence: str) -> None:
        try:
            following = self._following(execution)
        except InvalidPayload:  # a time zone that there is no more
            following = None

        def work(unit: Unit) -> ExecutionView | None:
            assert execution.next_at is not None
            changes = {"next_at": following, "failed": sentence}
            changed = unit.take_execution(execution.id, execution.next_at, **changes)
            return None if changed is None else view_of(unit, changed)

        view = await self._store.write(work)
        if view is not None:
            self._teller.update(view)

    def _following(self, execution: Execution) -> datetime | None:
        """The time after the present one; times that passed while no server ran are not made up for one by one."""
        assert execution.next_at is not None
        if execution.cron is None:
            return None
        return next_time(execution.cron, execution.timezone, max(execution.next_at, self._clock.now()))

    async def _tell(self) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while ids := list(self._heard)[:BATCH]:
                for execution_id in ids:
                    del self._heard[execution_id]  # whoever is heard of during the read is read again
                await self._tell_of(ids)

    async def _tell_of(self, ids: list[int]) -> None:
        try:
            views = await self._store.read(lambda unit: _views(unit, ids))
        except Overloaded:
            self._heard = {**dict.fromkeys(ids), **self._heard}
            await trio.sleep(AGAIN_AFTER)
            return
        for view in views:
            self._teller.update(view)


def own(unit: Unit, principal: Principal, execution_id: int) -> Execution:
    """The principal's execution.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    row = unit.execution(execution_id)
    if row is None or row.user_id != principal.user_id:
        message = f"there is no execution {execution_id}"
        raise NotFound(message)
    return row


def _held(unit: Unit, principal: Principal, execution_id: int) -> Execution:
    """The principal's execution, which nobody else changes, runs or deletes until the unit ends."""
    return unit.update_execution(own(unit, principal, execution_id).id)


def _views(unit: Unit, ids: list[int]) -> list[ExecutionView]:
    rows = (unit.execution(each) for each in ids)
    return [view_of(unit, row) for row in rows if row is not None]


def _fields(asked: ExecutionRequest) -> dict[str, Any]:
    run_at = None if asked.run_at is None else in_utc(asked.run_at)
    given = {"team_id": asked.team_id, "prompt": asked.prompt, "run_at": run_at}
    return {**given, "cron": asked.cron, "timezone": asked.timezone}


def _principal(unit: Unit, execution: Execution) -> Principal:
    user = unit.user(execution.user_id)
    if user is None or not user.active:
        message = "the user whose work this is is not active"
        raise AccessDenied(message)
    return Principal(user.id, user.user_name)


def _answer(sent: Sent) -> Subtask:
    assert sent.answer is not None, "in a task of one's own the team always answers"
    return sent.answer
