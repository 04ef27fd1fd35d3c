"""Answers are checked, and improved, by a second model (protocol §4, §10).

A correction is kept in the `result` of the answer's row: RUNNING while it is made, then DONE with what came of it. So
of several workers one makes it, and who comes later finds it. One that its worker did not live to end counts for
nothing once its time is over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import trio
from attrs import frozen

from wegent.codec import convert
from wegent.core.clock import Clock
from wegent.core.errors import Conflict, NotFound, Overloaded, ShuttingDown, WegentError
from wegent.core.model import Principal
from wegent.protocol.correction import (
    CorrectAccepted,
    CorrectionItem,
    CorrectionResult,
    CorrectionStatus,
    CorrectRequest,
)
from wegent.protocol.shape import to_wire
from wegent.protocol.status import Role, Status
from wegent.server.access import controllable_run, readable_task
from wegent.server.correction_telling import CORRECTION, CorrectionTeller, Voice
from wegent.server.ports.corrector import Corrector, ToCorrect
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task
from wegent.server.status import TaskView, settle
from wegent.server.teams import model_named
from wegent.server.telling import Teller

log = logging.getLogger(__name__)
MOST = 100_000
"""Code points of an answer, and of its question, that are checked."""
TRIES = 5
AGAIN_AFTER = 1.0
DEFECT = "the server failed at this; its log says more"
LAST_WORDS = 3.0
"""Seconds for noting that a correction was stopped."""


@frozen
class Begun:
    """A correction under way; `id` is its own, `attempt` what it checks."""

    id: str
    attempt: int
    name: str
    asked: ToCorrect


class Corrections:
    """Makes, keeps, applies and forgets corrections. `serve` is the life of those that are made here."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        corrector: Corrector,
        teller: Teller,
        telling: CorrectionTeller,
        *,
        at_once: int = 4,
        seconds: float = 300.0,
    ) -> None:
        """`at_once` are made on this worker, each within so many seconds."""
        self._store = store
        self._clock = clock
        self._corrector = corrector
        self._teller = teller
        self._telling = telling
        self._at_once = at_once
        self._seconds = seconds
        self._on: dict[str, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled, and all corrections with it."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def start(self, principal: Principal, asked: CorrectRequest) -> CorrectAccepted:
        """Begin one; what comes of it is told to the task's room.

        Raises:
            NotFound, AccessDenied: no such answer, or not for them.
            Conflict: the answer is not whole, or is being checked.
            Overloaded: as many are being made here as may be.
        """
        correction_id, scope = secrets.token_hex(8), trio.CancelScope()
        if len(self._on) >= self._at_once:
            message = f"{self._at_once} corrections are being made, which is as many as may be; try again soon"
            raise Overloaded(message)
        self._on[correction_id] = scope
        try:
            begun, row = await self._store.write(lambda unit: self._begin(unit, principal, asked, correction_id))
        except BaseException:
            del self._on[correction_id]
            raise
        if self._nursery is None:
            del self._on[correction_id]
            raise ShuttingDown("the server is stopping")
        self._telling.start(row, begun.name)
        self._nursery.start_soon(self._run, begun, scope)
        return CorrectAccepted(task_id=row.task_id, subtask_id=row.id, correction_model=begun.name)

    def _begin(
        self, unit: Unit, principal: Principal, asked: CorrectRequest, correction_id: str
    ) -> tuple[Begun, Subtask]:
        readable_task(unit, principal, asked.task_id)
        task = unit.touch(asked.task_id)
        row = _answer(unit, task, asked.subtask_id)
        if row.status != Status.COMPLETED or not row.content.strip():
            message = f"this answer is {row.status}; one that is COMPLETED, and says something, can be checked"
            raise Conflict(message)
        if self._is_running(row):
            message = "this answer is being checked already"
            raise Conflict(message)
        message_row = None if row.answers is None else unit.subtask(row.answers)
        question = "" if message_row is None else message_row.prompt
        if len(row.content) > MOST or len(question) > MOST:
            message = f"an answer and its question may have {MOST} characters each to be checked"
            raise Conflict(message)
        model = {} if asked.model is None else model_named(unit, principal, asked.model)
        begun = Begun(
            correction_id,
            row.attempt,
            self._corrector.name_of(model),
            ToCorrect(task.id, row.id, principal.user_id, question, row.content, model),
        )
        running = {
            "id": correction_id,
            "status": CorrectionStatus.RUNNING.value,
            "correction_model": begun.name,
            "started_at": self._clock.now().isoformat(),
        }
        row = unit.update_subtask(row.id, task=task, result={**row.result, CORRECTION: running})
        settle(unit, task)
        return begun, row

    def _is_running(self, row: Subtask) -> bool:
        kept = row.result.get(CORRECTION)
        if kept is None or kept["status"] != CorrectionStatus.RUNNING:
            return False
        since = datetime.fromisoformat(kept["started_at"])
        return self._clock.now() - since < timedelta(seconds=self._seconds + 2 * LAST_WORDS)

    # its making

    async def _run(self, begun: Begun, scope: trio.CancelScope) -> None:
        """Make it, whatever happens: it ends as kept, or as an error that its viewers hear of."""
        try:
            with scope:
                await self._make(begun)
        except Exception:
            log.exception("a correction could not be kept")
            self._telling.error(begun.asked, DEFECT)
        except trio.Cancelled:
            with trio.CancelScope(shield=True), trio.move_on_after(LAST_WORDS):
                await self._fail(begun, "the correction was stopped, for the server is stopping")
            raise
        finally:
            del self._on[begun.id]

    async def _make(self, begun: Begun) -> None:
        result: CorrectionResult | None = None
        error = f"the correction took longer than {self._seconds:g} s"
        with trio.move_on_after(self._seconds):
            try:
                result = await self._corrector.correct(begun.asked, Voice(self._telling, begun.asked))
            except WegentError as failure:
                error = failure.sentence
            except Exception:
                log.exception("a correction failed")
                error = DEFECT
        if result is None:
            await self._fail(begun, error)
        else:
            await self._keep(begun, result)

    async def _keep(self, begun: Begun, result: CorrectionResult) -> None:
        for _ in range(TRIES):
            try:
                row = await self._store.write(lambda unit: self._put(unit, begun, result))
            except NotFound:
                return
            except Overloaded:
                await trio.sleep(AGAIN_AFTER)
            else:
                self._telling.done(row, result)
                return
        self._telling.error(begun.asked, "the database is away, so that the correction could not be kept")

    async def _fail(self, begun: Begun, error: str) -> None:
        try:
            row = await self._store.write(lambda unit: self._put(unit, begun, None))
        except NotFound:
            return
        except Overloaded:
            self._telling.error(begun.asked, error)
        else:
            self._telling.error(row, error, revision=row.revision)

    def _put(self, unit: Unit, begun: Begun, result: CorrectionResult | None) -> Subtask:
        """Keep what came of it, or forget it.

        Raises:
            NotFound: it is not wanted any more, and nothing has changed.
        """
        task = unit.touch(begun.asked.task_id)
        row = unit.subtask(begun.asked.subtask_id)
        kept = None if row is None or row.deleted else row.result.get(CORRECTION)
        if row is None or kept is None or kept["id"] != begun.id or row.attempt != begun.attempt:
            message = "this correction was deleted, or its answer has changed"
            raise NotFound(message)
        changed = None
        if result is not None:
            changed = {**kept, "status": CorrectionStatus.DONE.value, "result": to_wire(result)}
        return _with_correction(unit, task, row, changed)

    # what is kept

    async def get(self, principal: Principal, subtask_id: int) -> CorrectionItem:
        """The whole of what is kept.

        Raises:
            NotFound, AccessDenied: there is no such answer, or no correction of it, or not for them.
        """
        row = await self._store.read(lambda unit: _corrected(unit, principal, subtask_id))
        return item_of(row)

    async def delete(self, principal: Principal, subtask_id: int) -> None:
        """Forget it; one that is being made is stopped.

        Raises:
            NotFound, AccessDenied: as `get`; who may cancel an answer may do this.
        """

        def work(unit: Unit) -> tuple[Subtask, Mapping[str, Any]]:
            controllable_run(unit, principal, subtask_id)
            row = _corrected(unit, principal, subtask_id)
            task = unit.touch(row.task_id)
            row = _corrected(unit, principal, subtask_id)
            kept: Mapping[str, Any] = row.result[CORRECTION]
            return _with_correction(unit, task, row, None), kept

        row, kept = await self._store.write(work)
        if kept["status"] == CorrectionStatus.RUNNING:
            self._telling.error(row, "the correction was deleted", revision=row.revision)
        else:
            self._telling.gone(row)
        if (scope := self._on.get(kept["id"])) is not None:
            scope.cancel()

    async def apply(self, principal: Principal, subtask_id: int) -> int:
        """Put the improved answer in the place of the answer, as a further attempt, whose number this returns.

        Raises:
            NotFound, AccessDenied: as `delete`.
            Conflict: there is nothing to apply, or not now.
        """

        def work(unit: Unit) -> tuple[Subtask, TaskView]:
            controllable_run(unit, principal, subtask_id)
            task = unit.touch(_corrected(unit, principal, subtask_id).task_id)
            row = _applied(unit, task, _corrected(unit, principal, subtask_id), now=self._clock.now())
            return row, settle(unit, task)

        row, seen = await self._store.write(work)
        self._teller.ending(row, seen)
        return row.attempt


def item_of(row: Subtask) -> CorrectionItem:
    """The correction of a row that has one."""
    kept = row.result[CORRECTION]
    result = kept.get("result")
    return CorrectionItem(
        task_id=row.task_id,
        subtask_id=row.id,
        status=CorrectionStatus(kept["status"]),
        correction_model=kept["correction_model"],
        started_at=datetime.fromisoformat(kept["started_at"]),
        result=None if result is None else convert(result, CorrectionResult),
        applied=bool(kept.get("applied")),
    )


def _answer(unit: Unit, task: Task, subtask_id: int) -> Subtask:
    row = unit.subtask(subtask_id)
    if row is None or row.deleted or row.task_id != task.id or row.role != Role.ASSISTANT:
        message = f"task {task.id} has no answer {subtask_id}"
        raise NotFound(message)
    return row


def _corrected(unit: Unit, principal: Principal, subtask_id: int) -> Subtask:
    row = unit.subtask(subtask_id)
    if row is not None:
        readable_task(unit, principal, row.task_id)
    if row is None or row.deleted or row.role != Role.ASSISTANT:
        message = f"there is no answer {subtask_id}"
        raise NotFound(message)
    if CORRECTION not in row.result:
        message = f"answer {subtask_id} has no correction"
        raise NotFound(message)
    return row


def _with_correction(unit: Unit, task: Task, row: Subtask, kept: Mapping[str, Any] | None) -> Subtask:
    rest = {name: value for name, value in row.result.items() if name != CORRECTION}
    row = unit.update_subtask(row.id, task=task, result=rest if kept is None else {**rest, CORRECTION: kept})
    settle(unit, task)
    return row


def _applied(unit: Unit, task: Task, row: Subtask, *, now: datetime) -> Subtask:
    kept = row.result[CORRECTION]
    if kept["status"] != CorrectionStatus.DONE or kept.get("applied"):
        message = "this correction is applied already" if kept.get("applied") else "this correction is not done yet"
        raise Conflict(message)
    if row.status != Status.COMPLETED:
        message = f"this answer is {row.status}, so nothing can be put in its place"
        raise Conflict(message)
    improved = kept["result"]["improved_answer"]
    if not improved.strip() or improved == row.content:
        message = "the correction found nothing to improve"
        raise Conflict(message)
    values = tuple(
        {**value, "at": min(value["at"], len(improved))} if isinstance(value.get("at"), int) else value
        for value in row.values
    )
    return unit.update_subtask(
        row.id,
        task=task,
        attempt=row.attempt + 1,
        content=improved,
        values=values,
        result={**row.result, CORRECTION: {**kept, "applied": True}},
        completed_at=now,
    )
