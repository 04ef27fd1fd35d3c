"""Rows and streams as the payloads that clients see, cut to what a frame may hold."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from attrs import evolve

from wegent.codec import CodecError, convert
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus, Snapshot, Value
from wegent.core.replica import Replica
from wegent.core.text import fit
from wegent.protocol.blocks import App, Block
from wegent.protocol.chat import ChatCancelled, ChatDone, ChatError, ChatMessage, ChatStart, RunResult, Sender
from wegent.protocol.correction import CorrectionStatus, KeptCorrection, Scores
from wegent.protocol.status import ErrorType, Role, RunReason, Status
from wegent.protocol.tasks import (
    HistoryMessage,
    RemovedSubtask,
    Row,
    Streaming,
    StreamValues,
    TaskAppUpdate,
    TaskCreated,
    TaskStatus,
)
from wegent.protocol.tasks import Subtask as SubtaskPayload
from wegent.server.contexts import attachments_of
from wegent.server.records import Subtask, Task

log = logging.getLogger(__name__)
TEXT_BUDGET = 200_000
"""Bytes of one text in an ack or ending; with thinking and blocks beside it the frame stays below its limit."""
BLOCKS_BUDGET = 100_000


def blocks_of(values: Iterable[Mapping[str, Any]]) -> tuple[Block, ...] | None:
    """The blocks among a stream's values, by place, cut where all of them would not fit.

    A cut one is of version 0: it replaces no whole one that a client has, and any whole one replaces it.
    """
    found = [dict(value) for value in values if "id" in value]
    if too_large(found):
        for block in found:
            for name in ("tool_input", "tool_output"):
                if len(repr(block.get(name))) > 1_000:
                    block[name], block["version"] = repr(block[name])[:1_000] + "…", 0
    blocks: list[Block] = []
    for block in found:
        try:
            blocks.append(convert(block, Block))
        except CodecError as error:
            log.warning("a block is not shown: %s", error.sentence)
    return tuple(sorted(blocks, key=lambda block: block.at)) or None


def too_large(blocks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the blocks do not all fit one frame."""
    return sum(len(repr(block)) for block in blocks) > BLOCKS_BUDGET


def app_of(values: Iterable[Mapping[str, Any]]) -> App | None:
    """The app preview among a stream's values."""
    for value in values:
        if "previewUrl" in value:
            try:
                return convert(dict(value), App)
            except CodecError as error:
                log.warning("an app is not shown: %s", error.sentence)
    return None


def app_shown(task: Task) -> App | None:
    """What is to be looked at in the task as a whole."""
    return None if task.app is None else app_of([task.app])


def app_update(task: Task) -> TaskAppUpdate | None:
    """The same as an event."""
    app = app_shown(task)
    return None if app is None else TaskAppUpdate(task_id=task.id, app=app)


def error_type_of(name: str) -> ErrorType:
    """The type of a failure; a name that the protocol does not have counts as internal."""
    try:
        return ErrorType(name)
    except ValueError:
        return ErrorType.INTERNAL


def progress_of(values: Iterable[Mapping[str, Any]]) -> int | None:
    """The progress among a stream's values."""
    return next((value["progress"] for value in values if "progress" in value), None)


def run_result(
    text: str, thinking: str, values: Iterable[Mapping[str, Any]], *, budget: int = TEXT_BUDGET
) -> RunResult:
    """What a run left, cut to the budget (protocol §1, limits)."""
    values = list(values)
    cut, cut_thinking = text[: fit(text, budget)], thinking[: fit(thinking, budget)]
    blocks = [value for value in values if "id" in value]
    truncated = len(cut) < len(text) or len(cut_thinking) < len(thinking) or too_large(blocks)
    return RunResult(
        value=cut,
        thinking=cut_thinking or None,
        blocks=blocks_of(values),
        app=app_of(values),
        truncated=truncated or None,
    )


def values_of(values: Iterable[Value]) -> tuple[Mapping[str, Any], ...]:
    """Values as rows keep them."""
    return tuple(value.data for value in values)


def sender_of(row: Subtask) -> Sender | None:
    """Who sent a USER row."""
    return Sender(user_id=row.sender_id, user_name=row.sender_name) if row.role == Role.USER else None


def _row_result(row: Subtask, budget: int) -> RunResult:
    result = run_result(row.content, row.thinking, row.values, budget=budget)
    kept = row.result.get("correction")
    return result if kept is None else evolve(result, correction=_kept_correction(kept))


def _kept_correction(kept: Mapping[str, Any]) -> KeptCorrection:
    found = kept.get("result") or {}
    return KeptCorrection(
        status=CorrectionStatus(kept["status"]),
        correction_model=kept["correction_model"],
        is_correct=found.get("is_correct"),
        scores=Scores(**found["scores"]) if found else None,
        applied=kept.get("applied"),
    )


def row_payload(row: Subtask, *, budget: int = TEXT_BUDGET) -> Row:
    """A row as `task:join` tells it."""
    if row.deleted:
        return RemovedSubtask(id=row.id, revision=row.revision)
    answer = row.role == Role.ASSISTANT
    return SubtaskPayload(
        id=row.id,
        message_id=row.message_id,
        revision=row.revision,
        attempt=row.attempt,
        role=Role(row.role),
        prompt=row.prompt,
        result=_row_result(row, budget) if answer else None,
        status=Status(row.status),
        progress=row.progress,
        error_message=row.error_message,
        error_type=error_type_of(row.error_type) if row.error_type else None,
        contexts=tuple(dict(context) for context in row.contexts),
        sender=sender_of(row),
        client_message_id=row.client_message_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        completed_at=row.completed_at,
    )


def history_message(row: Subtask, *, budget: int = TEXT_BUDGET) -> HistoryMessage:
    """A row as `history:sync` tells it."""
    text = row.content if row.role == Role.ASSISTANT else row.prompt
    return HistoryMessage(
        subtask_id=row.id,
        message_id=row.message_id,
        role=Role(row.role),
        content=text[: fit(text, budget)],
        status=Status(row.status),
        created_at=row.created_at,
        sender=sender_of(row),
    )


def streaming(row: Subtask, replica: Replica | None, now: datetime) -> Streaming:
    """The active run as a joining client learns of it, as of this moment."""
    text = replica.text() if replica is not None else ""
    thinking = replica.text(THINKING) if replica is not None else ""
    data = values_of(replica.values.values()) if replica is not None else ()
    cut, cut_thinking = text[: fit(text, TEXT_BUDGET)], thinking[: fit(thinking, TEXT_BUDGET)]
    whole = len(cut) == len(text) and len(cut_thinking) == len(thinking) and not too_large(data)
    return Streaming(
        subtask_id=row.id,
        attempt=row.attempt,
        offset=len(text),
        cached_content=cut,
        values=StreamValues(blocks=blocks_of(data), app=app_of(data), progress=progress_of(data)),
        thinking=cut_thinking or None,
        started_at=row.started_at or row.created_at,
        last_activity_at=now if text or thinking else row.updated_at,
        truncated=None if whole else True,
    )


def chat_start(row: Subtask) -> ChatStart:
    """An attempt begins."""
    return ChatStart(
        task_id=row.task_id,
        subtask_id=row.id,
        message_id=row.message_id,
        attempt=row.attempt,
        revision=row.revision,
        bot_name=row.bot_name,
        shell_type=row.shell_type,
        reason=RunReason(row.reason) if row.reason else None,
    )


def ending_event(row: Subtask, ending: Ending) -> tuple[str, ChatDone | ChatError | ChatCancelled]:
    """An attempt's ending, from its committed row: event name and payload."""
    common: dict[str, Any] = {
        "task_id": row.task_id,
        "subtask_id": row.id,
        "message_id": row.message_id,
        "attempt": row.attempt,
        "revision": row.revision,
        "offset": len(row.content),
        "result": run_result(row.content, row.thinking, row.values),
    }
    if ending.status is EndingStatus.COMPLETED:
        return "chat:done", ChatDone(**common)
    if ending.status is EndingStatus.CANCELLED:
        return "chat:cancelled", ChatCancelled(**common)
    kind = error_type_of(ending.error_type or "internal")
    return "chat:error", ChatError(**common, error=ending.error or "the run failed", type=kind)


def row_ending(row: Subtask) -> Ending:
    """The ending that a terminal row tells of."""
    return Ending(EndingStatus(row.status), row.error_message, row.error_type)


def chat_message(row: Subtask) -> ChatMessage:
    """What somebody said, for the others."""
    sender = sender_of(row)
    assert sender is not None
    return ChatMessage(
        task_id=row.task_id,
        subtask_id=row.id,
        message_id=row.message_id,
        revision=row.revision,
        client_message_id=row.client_message_id,
        role=Role(row.role),
        content=row.prompt,
        sender=sender,
        contexts=tuple(dict(context) for context in row.contexts),
        attachments=attachments_of(row.contexts),
        created_at=row.created_at,
    )


def task_created(task: Task) -> TaskCreated:
    """A task is new to somebody."""
    return TaskCreated(
        task_id=task.id,
        title=task.title,
        team_id=task.team_id,
        team_name=task.team_name,
        created_at=task.created_at,
        is_group_chat=task.is_group_chat,
    )


def task_status(task: Task) -> TaskStatus:
    """How a task stands."""
    return TaskStatus(
        task_id=task.id,
        status=Status(task.status),
        progress=task.progress,
        revision=task.revision,
        updated_at=task.updated_at,
        completed_at=task.completed_at,
    )


def row_snapshot(row: Subtask) -> Snapshot:
    """All that a terminal row's attempt has said."""
    values = tuple(Value(_key(data), int(data.get("version", 1)), _kind(data), data) for data in row.values)
    return Snapshot({CONTENT: row.content, THINKING: row.thinking}, values, ending=row_ending(row))


def _key(data: Mapping[str, Any]) -> str:
    """As the log names it."""
    return f"block:{data['id']}" if "id" in data else _kind(data)


def _kind(data: Mapping[str, Any]) -> str:
    return "block" if "id" in data else "app" if "previewUrl" in data else "progress"


def replica_content(replica: Replica) -> dict[str, Any]:
    """What a stream holds, as its row keeps it."""
    return {
        "content": replica.text(CONTENT),
        "thinking": replica.text(THINKING),
        "values": values_of(replica.values.values()),
    }
