"""What a task's viewers hear of corrections (protocol §4)."""

from __future__ import annotations

from typing import Any

from wegent.core.rooms import Rooms
from wegent.core.text import fit
from wegent.protocol import correction
from wegent.protocol.correction import CorrectionField, CorrectionResult, CorrectionStage
from wegent.protocol.events import (
    CORRECTION_CHUNK,
    CORRECTION_DONE,
    CORRECTION_ERROR,
    CORRECTION_PROGRESS,
    CORRECTION_START,
    SYNC_REQUIRED,
)
from wegent.protocol.tasks import SyncRequired
from wegent.server.ports.corrector import CorrectionVoice, ToCorrect
from wegent.server.records import Subtask
from wegent.server.telling import CHAT, task_room

CORRECTION = "correction"
"""The key of an answer's `result` that holds its correction."""
TEXT_BUDGET = 200_000
"""Bytes of an improved answer in the event that it is done; the chunks have told all of it."""


class CorrectionTeller:
    """Tells the room of a task."""

    __slots__ = ("_rooms",)

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def start(self, row: Subtask, model: str) -> None:
        """One begins."""
        payload = correction.CorrectionStart(task_id=row.task_id, subtask_id=row.id, correction_model=model)
        self._tell(row.task_id, CORRECTION_START, payload, row.revision)

    def progress(self, asked: ToCorrect, stage: CorrectionStage, tool_name: str | None) -> None:
        """It is so far."""
        payload = correction.CorrectionProgress(
            task_id=asked.task_id, subtask_id=asked.subtask_id, stage=stage, tool_name=tool_name
        )
        self._tell(asked.task_id, CORRECTION_PROGRESS, payload)

    def chunk(self, asked: ToCorrect, field: CorrectionField, delta: str, offset: int) -> None:
        """More of a text."""
        payload = correction.CorrectionChunk(
            task_id=asked.task_id, subtask_id=asked.subtask_id, field=field, content=delta, offset=offset
        )
        self._tell(asked.task_id, CORRECTION_CHUNK, payload)

    def done(self, row: Subtask, result: CorrectionResult) -> None:
        """It is kept."""
        improved = result.improved_answer
        told = CorrectionResult(
            scores=result.scores,
            corrections=result.corrections,
            summary=result.summary,
            improved_answer=improved[: fit(improved, TEXT_BUDGET)],
            is_correct=result.is_correct,
        )
        payload = correction.CorrectionDone(task_id=row.task_id, subtask_id=row.id, result=told)
        self._tell(row.task_id, CORRECTION_DONE, payload, row.revision)

    def error(self, of: ToCorrect | Subtask, error: str, *, revision: int | None = None) -> None:
        """There will be none."""
        subtask_id = of.id if isinstance(of, Subtask) else of.subtask_id
        payload = correction.CorrectionError(task_id=of.task_id, subtask_id=subtask_id, error=error)
        self._tell(of.task_id, CORRECTION_ERROR, payload, revision)

    def gone(self, row: Subtask) -> None:
        """One that was kept is no more, which no event tells: whoever views the task is to join it again."""
        self._tell(row.task_id, SYNC_REQUIRED, SyncRequired(scope=task_room(row.task_id)), row.revision)

    def _tell(self, task_id: int, event: str, payload: Any, revision: int | None = None) -> None:
        self._rooms.emit(CHAT, task_room(task_id), event, payload, revision=revision)


class Voice(CorrectionVoice):
    """One correction's, to its task's room."""

    __slots__ = ("_asked", "_offsets", "_teller")

    def __init__(self, teller: CorrectionTeller, asked: ToCorrect) -> None:
        self._teller = teller
        self._asked = asked
        self._offsets: dict[CorrectionField, int] = {}

    def stage(self, stage: CorrectionStage, tool_name: str | None = None) -> None:
        """Tell it."""
        self._teller.progress(self._asked, stage, tool_name)

    def say(self, field: CorrectionField, delta: str) -> None:
        """Tell it, with its offset."""
        offset = self._offsets.get(field, 0)
        self._offsets[field] = offset + len(delta)
        self._teller.chunk(self._asked, field, delta, offset)
