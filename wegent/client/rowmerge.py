"""How a row of a join ack, or of `chat:message`, is merged into what the client holds (protocol §3.1, §5). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wegent.client.message import TERMINAL, UNSTARTED, Change, ChangeKind, Message
from wegent.client.problems import ProblemKind
from wegent.client.runmerge import RunMerge


def merge_row(message: Message, row: Mapping[str, Any], merge: RunMerge) -> None:
    """Merge a `Subtask`. A row older than what is held changes nothing, nor does one that takes an ending back."""
    attempt, revision = _int(row.get("attempt"), 1), _int(row.get("revision"), 0)
    if attempt < message.attempt or (attempt == message.attempt and revision < message.revision):
        return
    if attempt > message.attempt:
        begun = message.begin(attempt)
        if message.role:
            merge.changes.append(begun)
    message.revision = revision
    _describe(message, row)
    status = str(row.get("status") or message.status)
    result = row.get("result")
    if message.role == "USER":
        message.status = status
    elif message.has_ended:
        _compare(message, status, result, merge)
    else:
        _run(message, status, result if isinstance(result, Mapping) else {}, row, merge)
    merge.changes.append(Change(ChangeKind.ROW, message.id, attempt))


def _describe(message: Message, row: Mapping[str, Any]) -> None:
    message.message_id = _int(row.get("message_id"), 0) or message.message_id
    message.role = str(row.get("role") or message.role)
    message.prompt = str(row.get("prompt") or message.prompt)
    for name in ("sender", "client_message_id", "contexts", "created_at"):
        if (value := row.get(name)) is not None:
            setattr(message, name, value)


def _run(message: Message, status: str, result: Mapping[str, Any], row: Mapping[str, Any], merge: RunMerge) -> None:
    """Take over an ASSISTANT row: an ending whole, a running one as far as its text was saved."""
    message.status = status
    if status not in UNSTARTED:
        message.started = message.attempt
    if status in TERMINAL:
        cut_short = bool(result.get("truncated"))
        if cut_short or isinstance(result.get("value"), str):
            merge.result(message, result, offset=None, cut_short=cut_short)
        message.ended = message.attempt
        message.error, message.error_type = row.get("error_message"), row.get("error_type")
        merge.changes.append(Change(ChangeKind.END, message.id, message.attempt))
        return
    for name, key in (("content", "value"), ("thinking", "thinking")):
        if isinstance(text := result.get(key), str):
            merge.whole(message, name, text)
    merge.values(message, result)


def _compare(message: Message, status: str, result: object, merge: RunMerge) -> None:
    """The row of an attempt whose ending is known must say the same as that ending."""
    if status != message.status:
        merge.note(ProblemKind.SECOND_ENDING, message, f"the row says {status}, the ending said {message.status}")
        return
    value = result.get("value") if isinstance(result, Mapping) and not result.get("truncated") else None
    if isinstance(value, str) and not message.truncated and value != message.content.value:
        merge.note(ProblemKind.DISAGREE, message, "the row's text is not the ending's")


def _int(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
