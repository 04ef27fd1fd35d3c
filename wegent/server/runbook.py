"""Claims, beats, endings and take-overs of runs, as units of the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from hashlib import blake2s
from typing import Any

from attrs import frozen

from wegent.codec import decode, encode
from wegent.core.clock import Clock
from wegent.core.errors import LeaseLost, Terminal
from wegent.core.model import Ending, EndingStatus, Job, Snapshot, StreamId, Text, Value
from wegent.core.ports.runbook import Finished, Held, RemoteRow, RunBook, Unsaved
from wegent.protocol.limits import MAX_ATTEMPTS
from wegent.protocol.status import OnLost, Role, Status
from wegent.server.claiming import Claim, SpecOf, claim_rows, job_from
from wegent.server.owners import is_remote
from wegent.server.payloads import values_of
from wegent.server.ports.store import Store, Unit
from wegent.server.records import SavedPart, Subtask
from wegent.server.status import TaskView, is_terminal, settle

VALUE = "value"


@frozen
class Lost:
    """A run that was taken from a lost owner: ended (`row` terminal) or back in the queue."""

    row: Subtask
    view: TaskView


class StoreRunBook(RunBook):
    """The run book of a deployment that has a store."""

    def __init__(self, store: Store, clock: Clock, spec_of: SpecOf) -> None:
        self._store = store
        self._clock = clock
        self._spec_of = spec_of

    async def depths(self) -> dict[str, int]:
        """How many rows wait, by target."""
        return await self._store.read(lambda unit: unit.depths())

    async def claim(self, claim: Claim) -> list[Job]:
        """Take waiting attempts, each under a lease of its own."""
        return await self._store.write(lambda unit: claim_rows(unit, claim, self._spec_of, now=self._clock.now()))

    async def beat(self, owner: str, *, reported: Collection[int] = ()) -> list[Held]:
        """Say that the owner lives; `reported` are rows of which it has been heard for the first time."""

        def work(unit: Unit) -> list[Held]:
            unit.beat(owner)
            unit.set_reported(reported)
            return [
                Held(row, attempt, lease or "", cancelling=status == Status.CANCELLING)
                for row, attempt, lease, status in unit.owned(owner)
            ]

        return await self._store.write(work)

    async def save(self, unsaved: Sequence[Unsaved]) -> None:
        """Keep what running streams have said."""
        parts = [_part(each.stream, entry) for each in unsaved for entry in each.entries]
        await self._store.write(lambda unit: unit.save_parts(parts))

    async def finish(self, job: Job, ending: Ending, snapshot: Snapshot) -> Finished:
        """Commit the attempt's ending; a repeat, after a commit nobody knew of, succeeds."""

        def work(unit: Unit) -> Finished:
            task = unit.touch(job.task_id)
            row = _held(unit, job)
            if is_terminal(row):
                return Finished(job, _ending_of(row), row.revision, row, settle(unit, job.task_id))
            row = end_row(unit, row, ending, snapshot, now=self._clock.now(), task=task)
            return Finished(job, ending, row.revision, row, settle(unit, job.task_id))

        return await self._store.write(work)

    async def give_up(self, job: Job, reason: str, snapshot: Snapshot) -> Finished | None:
        """End an attempt that its owner cannot go on with, or queue its next one."""

        def work(unit: Unit) -> Finished | None:
            row = _held(unit, job)
            if is_terminal(row):
                return None
            lost = take_over(unit, row, reason, snapshot, now=self._clock.now())
            if not is_terminal(lost.row):
                return None
            return Finished(job, _ending_of(lost.row), lost.row.revision, lost.row, lost.view)

        return await self._store.write(work)

    async def give_back(self, held: Sequence[Held]) -> list[Finished]:
        """Take rows from an owner who holds but doesn't run them."""

        def work(unit: Unit) -> list[Finished]:
            found = [self._give_back(unit, each) for each in held]
            return [each for each in found if each is not None]

        return await self._store.write(work)

    def _give_back(self, unit: Unit, held: Held) -> Finished | None:
        row = unit.subtask(held.subtask_id)
        if row is None or (row.attempt, row.lease) != (held.attempt, held.lease) or not Status(row.status).active:
            return None
        snapshot = saved_snapshot(unit, row)
        unsaid = not any(snapshot.texts.values()) and not snapshot.values
        lost = take_over(unit, row, "worker_lost", snapshot, now=self._clock.now(), again=unsaid)
        return (
            Finished(job_from(lost.row), _ending_of(lost.row), lost.row.revision, lost.row, lost.view)
            if is_terminal(lost.row)
            else None
        )

    async def remote(self) -> list[RemoteRow]:
        """Every running attempt that an executor host or a device holds."""

        def work(unit: Unit) -> list[RemoteRow]:
            return [_remote_row(unit, row) for row in unit.running_remote()]

        return await self._store.read(work)

    async def remote_row(self, subtask_id: int) -> RemoteRow | None:
        """One of them, or what has ended."""

        def work(unit: Unit) -> RemoteRow | None:
            row = unit.subtask(subtask_id)
            if row is None or row.deleted or row.role != Role.ASSISTANT:
                return None
            return _remote_row(unit, row) if is_terminal(row) or _is_remote(row) else None

        return await self._store.read(work)

    async def reclaim(self, owners: Collection[str] | None, reason: str) -> list[Lost]:
        """Take every run from these owners, who are known to be gone (all owners where None)."""

        def work(unit: Unit) -> list[Lost]:
            lost = [
                take_over(unit, row, reason, saved_snapshot(unit, row), now=self._clock.now())
                for row in unit.running(owners)
            ]
            for beat in unit.beats():
                if owners is None or beat.owner in owners:
                    unit.forget_owner(beat.owner)
            return lost

        return await self._store.write(work)


def _is_remote(row: Subtask) -> bool:
    return Status(row.status).active and is_remote(row.owner or "")


def _remote_row(unit: Unit, row: Subtask) -> RemoteRow:
    ended = is_terminal(row)
    return RemoteRow(
        job_from(row),
        owner=row.owner or "",
        cancelling=row.status == Status.CANCELLING,
        snapshot=Snapshot({"content": row.content, "thinking": row.thinking}) if ended else saved_snapshot(unit, row),
        ending=_ending_of(row) if ended else None,
    )


def _held(unit: Unit, job: Job) -> Subtask:
    """The job's row, if the job still holds it; an ended one only if it was ended under this very lease."""
    row = unit.subtask(job.subtask_id)
    if row is None or row.deleted or row.attempt != job.attempt or row.lease != job.lease:
        message = f"attempt {job.attempt} of {job.subtask_id} belongs to somebody else now"
        raise LeaseLost(message)
    if not is_terminal(row) and not Status(row.status).active:
        message = f"attempt {job.attempt} of {job.subtask_id} is not running"
        raise Terminal(message, status=row.status)
    return row


def end_row(unit: Unit, row: Subtask, ending: Ending, snapshot: Snapshot, *, now: datetime, task: Any) -> Subtask:
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


def take_over(unit: Unit, row: Subtask, reason: str, snapshot: Snapshot, *, now: datetime, again: bool = False) -> Lost:
    """What becomes of a run whose owner is lost (protocol §6.5, §7): an ending, or the next attempt in the queue.

    `again`: nobody has seen anything of it yet, so it is tried again whatever its `on_lost`.
    """
    task = unit.touch(row.task_id)
    if row.status == Status.CANCELLING:
        row = end_row(unit, row, Ending(EndingStatus.CANCELLED), snapshot, now=now, task=task)
    elif (again or row.on_lost == OnLost.RERUN) and row.lost_attempts < MAX_ATTEMPTS:
        unit.drop_parts(StreamId(row.task_id, row.id, row.attempt))
        row = unit.update_subtask(
            row.id,
            task=task,
            status=Status.PENDING.value,
            attempt=row.attempt + 1,
            lost_attempts=row.lost_attempts + 1,
            reason=reason,
            owner=None,
            lease=None,
            claimable_at=now,
            started_at=None,
        )
    else:
        ending = Ending(EndingStatus.FAILED, _LOST.get(reason, "the run's owner was lost"), reason)
        row = end_row(unit, row, ending, snapshot, now=now, task=task)
    return Lost(row, settle(unit, row.task_id))


_LOST = {
    "worker_lost": "the server that ran this stopped before it was done; what was written until then is kept",
    "device_lost": "the device that ran this was lost before it was done; what was written until then is kept",
    "executor_lost": "the executor that ran this was lost before it was done; what was written until then is kept",
}


def _ending_of(row: Subtask) -> Ending:
    return Ending(EndingStatus(row.status), row.error_message, row.error_type, row.result)


def _part(stream: StreamId, entry: Text | Value) -> SavedPart:
    if isinstance(entry, Text):
        return SavedPart(stream, entry.channel, entry.offset, entry.delta)
    body = {"key": entry.key, "version": entry.version, "kind": entry.kind, "data": dict(entry.data)}
    name = blake2s(entry.key.encode(), digest_size=12).hexdigest()  # keys may be longer than the column
    return SavedPart(stream, f"{VALUE}:{name}", 0, encode(body).decode())


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
