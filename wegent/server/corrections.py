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

from wegent.core.clock import Clock
from wegent.core.errors import Conflict, NotFound, Overloaded, RunFailed, ShuttingDown, WegentError
from wegent.core.model import Principal
from wegent.protocol.correction import (
    CorrectAccepted,
    CorrectionItem,
    CorrectionResult,
    CorrectionStatus,
    CorrectRequest,
)
from wegent.protocol.shape import to_wire
from wegent.server.access import controllable_run, readable_task
from wegent.server.correction_rows import applied, checkable, corrected, item_of, with_correction
from wegent.server.correction_telling import CORRECTION, CorrectionTeller, Voice
from wegent.server.ports.corrector import Corrector, ToCorrect
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask
from wegent.server.status import TaskView, settle
from wegent.server.teams import model_named
from wegent.server.telling import Teller

log = logging.getLogger(__name__)
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
        row, question = checkable(unit, task, asked.subtask_id)
        if self._is_running(row):
            message = "this answer is being checked already"
            raise Conflict(message)
        model = {} if asked.model is None else model_named(unit, principal, asked.model)
        to_correct = ToCorrect(task.id, row.id, principal.user_id, question, row.content, model)
        begun = Begun(correction_id, row.attempt, self._name_of(model), to_correct)
        running = {
            "id": correction_id,
            "status": CorrectionStatus.RUNNING.value,
            "correction_model": begun.name,
            "started_at": self._clock.now().isoformat(),
        }
        return begun, with_correction(unit, task, row, running)

    def _name_of(self, model: Mapping[str, Any]) -> str:
        try:
            return self._corrector.name_of(model)
        except RunFailed as error:
            raise Conflict(error.sentence) from error

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
        return with_correction(unit, task, row, changed)

    # what is kept

    async def get(self, principal: Principal, subtask_id: int) -> CorrectionItem:
        """The whole of what is kept.

        Raises:
            NotFound, AccessDenied: there is no such answer, or no correction of it, or not for them.
        """
        row = await self._store.read(lambda unit: corrected(unit, principal, subtask_id))
        return item_of(row)

    async def delete(self, principal: Principal, subtask_id: int) -> None:
        """Forget it; one that is being made is stopped.

        Raises:
            NotFound, AccessDenied: as `get`; who may cancel an answer may do this.
        """

        def work(unit: Unit) -> tuple[Subtask, Mapping[str, Any]]:
            controllable_run(unit, principal, subtask_id)
            row = corrected(unit, principal, subtask_id)
            task = unit.touch(row.task_id)
            row = corrected(unit, principal, subtask_id)
            kept: Mapping[str, Any] = row.result[CORRECTION]
            return with_correction(unit, task, row, None), kept

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
            task = unit.touch(corrected(unit, principal, subtask_id).task_id)
            row = applied(unit, task, corrected(unit, principal, subtask_id), now=self._clock.now())
            return row, settle(unit, task)

        row, seen = await self._store.write(work)
        self._teller.ending(row, seen)
        return row.attempt
