"""Claims, beats, endings and losses of runs, as units of the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2s

from wegent.codec import encode
from wegent.core.clock import Clock
from wegent.core.errors import LeaseLost, Terminal
from wegent.core.model import Ending, Job, Snapshot, StreamId, Text, Value
from wegent.core.ports.runbook import Finished, Held, RemoteRow, RunBook, Unsaved
from wegent.protocol.status import Role, Status
from wegent.server.claiming import Claim, SpecOf, claim_rows, job_from
from wegent.server.ending import VALUE, Lost, end_row, ending_of, saved_snapshot, take_over
from wegent.server.owners import is_remote, reason_of
from wegent.server.ports.store import Store, Unit
from wegent.server.records import SavedPart, Subtask
from wegent.server.status import is_terminal, settle, view


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
                return Finished(job, ending_of(row), row.revision, row, settle(unit, task))
            row = end_row(unit, row, ending, snapshot, now=self._clock.now(), task=task)
            return Finished(job, ending, row.revision, row, settle(unit, task))

        return await self._store.write(work)

    async def give_up(self, job: Job, reason: str, snapshot: Snapshot) -> Finished | None:
        """End an attempt that its owner cannot go on with, or queue its next one."""

        def work(unit: Unit) -> Finished | None:
            row = _held(unit, job)
            lost = take_over(unit, row, reason, snapshot, now=self._clock.now())
            return None if lost is None else _finished(lost)

        return await self._store.write(work)

    async def give_back(self, held: Sequence[Held]) -> list[Finished]:
        """Take rows from an owner who holds but doesn't run them."""

        def work(unit: Unit) -> list[Finished]:
            found = [self._give_back(unit, each) for each in held]
            return [each for each in found if each is not None]

        return await self._store.write(work)

    def _give_back(self, unit: Unit, held: Held) -> Finished | None:
        row = unit.subtask(held.subtask_id)
        if row is None or (row.attempt, row.lease) != (held.attempt, held.lease):
            return None
        snapshot = saved_snapshot(unit, row)
        unsaid = not any(snapshot.texts.values()) and not snapshot.values
        lost = take_over(unit, row, reason_of(row.owner or ""), snapshot, now=self._clock.now(), again=unsaid)
        return None if lost is None else _finished(lost)

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

    async def look(self, owner: str) -> dict[str, int | None]:
        """The last beats of all but that owner; None for those who hold rows and never beat.

        Where there are any the owner beats: while the store can be read and not written to, nobody's beats arrive.
        """

        def work(unit: Unit) -> dict[str, int | None]:
            seen: dict[str, int | None] = dict.fromkeys(unit.holders())
            seen.update((each.owner, each.beat) for each in unit.beats())
            seen.pop(owner, None)
            return seen

        if seen := await self._store.read(work):
            await self._store.write(lambda unit: unit.beat(owner))
        return seen

    async def held(self, owner: str | None) -> list[StreamId]:
        """The attempts that an owner holds; those of all workers, where None."""

        def work(unit: Unit) -> list[StreamId]:
            rows = unit.running(None if owner is None else [owner])
            return [
                StreamId(row.task_id, row.id, row.attempt)
                for row in rows
                if owner is not None or not is_remote(row.owner or "")
            ]

        return await self._store.read(work)

    async def saved(self, stream: StreamId) -> Snapshot:
        """What was saved of a stream that is written."""

        def work(unit: Unit) -> Snapshot:
            row = unit.subtask(stream.subtask_id)
            return Snapshot({}) if row is None or row.attempt != stream.attempt else saved_snapshot(unit, row)

        return await self._store.read(work)

    async def reclaim(self, owner: str, beat: int | None) -> list[Lost]:
        """Take every run from an owner that is lost, unless it has beaten since that beat (None: it never had)."""

        def work(unit: Unit) -> list[Lost]:
            beaten = any(each.owner == owner for each in unit.beats())
            silent = not beaten if beat is None else unit.forget_owner(owner, beat=beat)
            return self._take(unit, unit.running([owner])) if silent else []

        return await self._store.write(work)

    async def reclaim_workers(self, name: str | None = None) -> list[Lost]:
        """Take every run that a worker holds, or the one of that name: for who knows that it is not alive."""

        def dead(owner: str | None) -> bool:
            return not is_remote(owner or "") and name in (None, owner)

        def work(unit: Unit) -> list[Lost]:
            for each in unit.beats():
                if dead(each.owner):
                    unit.forget_owner(each.owner)
            return self._take(unit, [row for row in unit.running() if dead(row.owner)])

        return await self._store.write(work)

    def _take(self, unit: Unit, rows: Iterable[Subtask]) -> list[Lost]:
        now = self._clock.now()
        taken = (
            take_over(unit, row, reason_of(row.owner or ""), saved_snapshot(unit, row), now=now, again=not row.reported)
            for row in rows
        )
        return [lost for lost in taken if lost is not None]

    async def what_became(self, attempts: Mapping[int, int]) -> list[Lost]:
        """Of attempts that were taken, if the taking was committed: those that are over. By the rows' ids."""

        def work(unit: Unit) -> list[Lost]:
            rows = (unit.subtask(row_id) for row_id in attempts)
            return [
                Lost(row, view(unit, task))
                for row in rows
                if row is not None
                and (row.attempt > attempts[row.id] or is_terminal(row))
                and (task := unit.task(row.task_id)) is not None
            ]

        return await self._store.read(work)


def _finished(lost: Lost) -> Finished | None:
    """As an ending, if it is one."""
    if not is_terminal(lost.row):
        return None
    return Finished(job_from(lost.row), ending_of(lost.row), lost.row.revision, lost.row, lost.view)


def _is_remote(row: Subtask) -> bool:
    return Status(row.status).active and is_remote(row.owner or "")


def _remote_row(unit: Unit, row: Subtask) -> RemoteRow:
    ended = is_terminal(row)
    return RemoteRow(
        job_from(row),
        owner=row.owner or "",
        cancelling=row.status == Status.CANCELLING,
        snapshot=Snapshot({"content": row.content, "thinking": row.thinking}) if ended else saved_snapshot(unit, row),
        ending=ending_of(row) if ended else None,
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


def _part(stream: StreamId, entry: Text | Value) -> SavedPart:
    if isinstance(entry, Text):
        return SavedPart(stream, entry.channel, entry.offset, entry.delta)
    body = {"key": entry.key, "version": entry.version, "kind": entry.kind, "data": dict(entry.data)}
    name = blake2s(entry.key.encode(), digest_size=12).hexdigest()  # keys may be longer than the column
    return SavedPart(stream, f"{VALUE}:{name}", 0, encode(body).decode())
