"""How an attempt ends in its row: by itself, or because its owner is lost (protocol §5, §6.5, §7)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from wegent.codec import decode
from wegent.core.errors import NotFound
from wegent.core.model import Ending, EndingStatus, Snapshot, StreamId, Value
from wegent.protocol.limits import MAX_ATTEMPTS
from wegent.protocol.status import OnLost, Status
from wegent.server.payloads import values_of
from wegent.server.ports.store import Unit
from wegent.server.records import SavedPart, Subtask, Task
from wegent.server.status import TaskView, is_terminal, settle
from wegent.server.targets import free_device

VALUE = "value"
"""What the channels of saved values begin with."""


@frozen
class Lost:
    """A run that was taken from its owner: ended (`row` terminal) or back in the queue, with the next attempt."""

    row: Subtask
    view: TaskView

    @property
    def attempt(self) -> int:
        """The attempt that was taken."""
        return self.row.attempt if is_terminal(self.row) else self.row.attempt - 1


def end_row(unit: Unit, row: Subtask, ending: Ending, snapshot: Snapshot, *, now: datetime, task: Task) -> Subtask:
    """Write an attempt's ending into its row; the lease stays as the mark of who ended it."""
    unit.drop_parts(StreamId(row.task_id, row.id, row.attempt))
    return unit.update_subtask(
        row.id,
        task=task,
        status=ending.status.value,
        progress=100 if ending.status is EndingStatus.COMPLETED else row.progress,
        content=snapshot.texts.get("content", ""),
        thinking=snapshot.texts.get("thinking", ""),
        values=values_of(snapshot.values),
        result=dict(ending.result),
        error_message=ending.error,
        error_type=ending.error_type,
        owner=None,
        completed_at=now,
    )


def take_over(
    unit: Unit, row: Subtask, reason: str, snapshot: Snapshot, *, now: datetime, again: bool = False
) -> Lost | None:
    """What becomes of a run whose owner is lost: an ending, or the next attempt in the queue.

    `again`: nobody has seen anything of it yet, so it is tried again whatever its `on_lost`. None: the attempt has
    ended or is somebody else's by now, or its task is deleted, so that nobody is to be told.
    """
    try:
        task = unit.touch(row.task_id)
    except NotFound:
        _bury(unit, row, now=now)
        return None
    current = unit.subtask(row.id)
    if current is None or not _same_hold(current, row):
        return None
    if current.status == Status.CANCELLING:
        row = end_row(unit, current, Ending(EndingStatus.CANCELLED), snapshot, now=now, task=task)
    elif (target := _next_target(unit, current, again=again)) is not None:
        row = _next_attempt(unit, current, target, reason, now=now, task=task)
    else:
        ending = Ending(EndingStatus.FAILED, _LOST.get(reason, "the run's owner was lost"), reason)
        row = end_row(unit, current, ending, snapshot, now=now, task=task)
    return Lost(row, settle(unit, task))


def _bury(unit: Unit, row: Subtask, *, now: datetime) -> None:
    """Nothing is told of a deleted task, and its revision stays; but nobody may hold a row of it for good."""
    task = unit.task(row.task_id)
    assert task is not None
    end_row(unit, row, Ending(EndingStatus.CANCELLED), Snapshot({}), now=now, task=task)


def _same_hold(current: Subtask, row: Subtask) -> bool:
    hold = (row.attempt, row.lease, row.owner)
    return Status(current.status).active and (current.attempt, current.lease, current.owner) == hold


def _next_target(unit: Unit, row: Subtask, *, again: bool) -> str | None:
    """Where the next attempt goes; None: there is to be none."""
    if row.lost_attempts >= MAX_ATTEMPTS:
        return None
    if row.on_lost == OnLost.REASSIGN and (other := free_device(unit, row.target)) is not None:
        return other
    return row.target if again or row.on_lost == OnLost.RERUN else None


def _next_attempt(unit: Unit, row: Subtask, target: str, reason: str, *, now: datetime, task: Task) -> Subtask:
    unit.drop_parts(StreamId(row.task_id, row.id, row.attempt))
    return unit.update_subtask(
        row.id,
        task=task,
        status=Status.PENDING.value,
        progress=0,
        attempt=row.attempt + 1,
        lost_attempts=row.lost_attempts + 1,
        reason=reason,
        target=target,
        owner=None,
        lease=None,
        reported=False,
        claimable_at=now,
        started_at=None,
    )


_LOST = {
    "worker_lost": "the server that ran this stopped before it was done; what was written until then is kept",
    "device_lost": "the device that ran this was lost before it was done; what was written until then is kept",
    "executor_lost": "the executor that ran this was lost before it was done; what was written until then is kept",
}


def ending_of(row: Subtask) -> Ending:
    """The ending that a terminal row has, whole."""
    return Ending(EndingStatus(row.status), row.error_message, row.error_type, row.result)


def saved_snapshot(unit: Unit, row: Subtask) -> Snapshot:
    """What was saved of a row's running stream: text up to the first gap, every value."""
    texts: dict[str, str] = {}
    values: list[Value] = []
    for part in _in_order(unit.saved_parts(StreamId(row.task_id, row.id, row.attempt))):
        if part.channel.startswith(VALUE + ":"):
            values.append(Value(**decode(part.text)))
        elif part.offset == len(texts.get(part.channel, "")):
            texts[part.channel] = texts.get(part.channel, "") + part.text
    return Snapshot(texts, tuple(values))


def _in_order(parts: Iterable[SavedPart]) -> list[SavedPart]:
    return sorted(parts, key=lambda part: (part.channel, part.offset))
