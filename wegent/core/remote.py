"""Attempts at work on executor hosts and devices: no task of this worker is theirs, their state is row and log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from wegent.core.committing import commit
from wegent.core.errors import (
    LeaseLost,
    NotFound,
    OffsetMismatch,
    Overloaded,
    Sealed,
    Terminal,
    WegentError,
)
from wegent.core.failure import failed
from wegent.core.model import Ending, EndingStatus, Job
from wegent.core.ports.runbook import Finished, Held, RemoteRow, RunBook
from wegent.core.remote_run import RemoteRun
from wegent.core.remote_skills import RemoteSkills
from wegent.core.runs import RunLimits, RunListener
from wegent.core.said import Draft, Said, SaidSkill
from wegent.core.saving import Saver
from wegent.core.sink import Ask
from wegent.core.values import output_limit

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.instruments import Registry
    from wegent.core.streams import Streams

log = logging.getLogger(__name__)
BEAT_LEAST = 2.5
"""Seconds between two beats for one run, however often it reports."""


class RemoteRuns:
    """Takes what hosts and devices say of their runs, and sees to it that each has one ending."""

    def __init__(
        self,
        book: RunBook,
        streams: Streams,
        listener: RunListener,
        registry: Registry,
        saver: Saver,
        *,
        clock: Clock,
        limits: RunLimits | None = None,
        ask: Callable[[Job], Ask] | None = None,
    ) -> None:
        """`saver` is shared with `Runs`, whose loop saves the texts of both in one transaction."""
        self.book = book
        self.limits = limits or RunLimits()
        self._streams = streams
        self._listener = listener
        self._registry = registry
        self._saver = saver
        self._clock = clock
        self._runs: dict[int, RemoteRun] = {}
        self.skills = RemoteSkills(self._runs, ask)
        self._finding = trio.Lock()
        self._looking = 0
        """The row that is being read from the store, until something happens to it."""
        self._nursery: trio.Nursery | None = None
        registry.gauge("wegent_remote_runs", "Runs on executor hosts and devices", lambda: len(self._runs))

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, subtask_id: int) -> RemoteRun | None:
        """This worker's copy of the row's attempt."""
        return self._runs.get(subtask_id)

    def of(self, owner: str | None) -> list[RemoteRun]:
        """This worker's copies of the attempts that the owner holds; of all there are where None."""
        return [run for run in self._runs.values() if owner in (None, run.owner)]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """End what does not stop in time, hold those that wait for answers; until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            with trio.CancelScope(shield=True), trio.move_on_after(self.limits.flush_timeout):
                await self._save_last()

    async def _save_last(self) -> None:
        try:
            if self._runs:
                await self.save()
        except WegentError as error:
            log.warning("the last words of remote runs are not saved: %s", error.sentence)

    async def save(self) -> None:
        """Save now what runs have said, before something is decided by what the store has; raises `StoreAway`."""
        await self._saver.save()

    async def recover(self) -> None:
        """Find again what an earlier life left: viewers who join see all that was saved, reports go on from there."""
        async with self._finding:
            for row in await self.book.remote():
                if row.job.subtask_id not in self._runs:
                    self._looking = row.job.subtask_id
                    await self._recall(row)

    def begin(self, job: Job, owner: str) -> RemoteRun:
        """An attempt was claimed for that owner: open its stream and tell of its start. Plain, after the commit."""
        self._replace(job.subtask_id)
        run = RemoteRun(job, owner, self._streams.open(job.stream, job.revision))
        self._keep(run)
        self._listener.started(job)
        return run

    async def find(self, subtask_id: int) -> RemoteRun | None:
        """The row's present attempt: this worker's copy, else as the store has it, with its text put into the log.

        One that has ended has `ending` set, whoever held it: whether the asker did, its lease and target tell. None:
        there is no such row, it waits, or a worker runs it.
        """
        if (run := self._runs.get(subtask_id)) is not None:
            await trio.lowlevel.checkpoint()
            return run
        async with self._finding:
            while (run := self._runs.get(subtask_id)) is None:
                self._looking = subtask_id
                row = await self.book.remote_row(subtask_id)
                if row is None:
                    return None
                if row.ending is not None:
                    return RemoteRun.over_already(row)
                await self._recall(row)
        return run

    async def find_anew(self, subtask_id: int) -> RemoteRun | None:
        """The same where other workers may have gone on with it since: row and log are read again."""
        if (run := self._runs.get(subtask_id)) is not None and not self._streams.local:
            await self._catch_up(run)
        return await self.find(subtask_id)

    async def _catch_up(self, run: RemoteRun) -> None:
        """Bring a copy up to what other workers took, or let go of it where they ended or lost the attempt."""
        row = await self.book.remote_row(run.job.subtask_id)
        if row is None or row.job.lease != run.job.lease:
            self.drop(run.job.subtask_id, run.job.attempt)
        elif row.ending is not None:
            self.drop(run.job.subtask_id, run.job.attempt, row.ending)
        else:
            await self._read_on(run)

    async def _read_on(self, run: RemoteRun) -> None:
        """Take in what others have put into a shared log."""
        if not self._streams.local:
            self._streams.hear(run.job.stream, await self._streams.missing(run.job.stream))

    def forget(self, owner: str) -> None:
        """Another worker hears the owner from now on: what is here of its runs is let go of. Plain."""
        for run in self.of(owner):
            run.stopper = None  # they go on
            self.drop(run.job.subtask_id, run.job.attempt)

    async def _recall(self, row: RemoteRow) -> None:
        """Have a copy of the run, unless it was taken or ended while it was read."""
        replica = await self._streams.recall(row.job.stream, row.job.revision, row.snapshot)
        if self._looking != row.job.subtask_id:
            self._streams.discard(replica)
            return
        run = RemoteRun(row.job, row.owner, replica, row.snapshot)
        self._keep(run)
        self.skills.recalled(run)
        if row.cancelling:
            self._cancel(run)

    async def say(self, run: RemoteRun, said: Sequence[Said]) -> int:
        """Take a report, whole or not at all; the content's length then.

        One that says more than is kept of a stream ends the run as FAILED (`output_limit`): look at `ending`.

        Raises:
            OffsetMismatch: its text does not continue the log, or differs from it.
            InvalidPayload: something in it is not what it should be.
            LeaseLost, Terminal: the run is somebody else's, or has ended.
        """
        async with run.lock:
            run.check()
            run.heard = True
            draft = await self._take(run, said)
            for skill in draft.skills.values():
                self._spawn_skill(run, skill)
        if draft.over:
            await self.fail(run, output_limit())
        return run.replica.length()

    async def _take(self, run: RemoteRun, said: Sequence[Said]) -> Draft:
        """Append what is new of it; once more where the copy lacked what other workers took."""
        if run.stopper is None:  # it is connected to no worker, so it may speak to any
            await self._read_on(run)
        lengths = run.replica.lengths()
        try:
            return await self._take_once(run, said)
        except (OffsetMismatch, Sealed):
            if self._streams.local or run.replica.lengths() != lengths:
                raise
            await self._catch_up(run)
        run.check()
        return await self._take_once(run, said)

    async def _take_once(self, run: RemoteRun, said: Sequence[Said]) -> Draft:
        draft = self._draft(run)
        for each in said:
            draft.take(each)
        await self._append(run, draft)
        return draft

    def _draft(self, run: RemoteRun) -> Draft:
        return Draft(
            run.replica,
            self._clock,
            halves=run.halves,
            most=self.limits.max_stream,
            asked=run.asked,
            waiting=run.waiting,
        )

    async def _append(self, run: RemoteRun, draft: Draft) -> None:
        await trio.lowlevel.checkpoint()
        with trio.CancelScope(shield=True):
            for texts, values in draft.batches():
                run.check()
                await self._streams.append(run.replica, texts, values)
        run.halves = draft.halves

    async def heard(self, run: RemoteRun) -> None:
        """A report of a run came whose owner is its own: that is its beat. A store that is away is not its fault.

        Raises:
            LeaseLost, Terminal: the store knows that the run is somebody else's, or has ended.
        """
        run.heard = True
        if trio.current_time() - run.beaten >= BEAT_LEAST:
            try:
                await self.beat(run.owner)
            except Overloaded as error:
                log.warning("run %s can't beat: %s; going on", run.job.stream, error.sentence)
        run.check()

    async def beat(self, owner: str) -> list[Held]:
        """Say that the owner lives, and hear of what was decided about its runs elsewhere; raises `StoreAway`.

        Returns what the owner holds and this worker has no copy of.
        """
        mine = self.of(owner)
        now = trio.current_time()
        new = [run for run in mine if run.heard and not run.reported]
        rows = await self.book.beat(owner, reported=[run.job.subtask_id for run in new])
        for run in new:
            run.reported = True
        held = {(row.subtask_id, row.attempt): row for row in rows}
        for run in mine:
            run.beaten = now
            row = held.get((run.job.subtask_id, run.job.attempt))
            if run.over.is_set():
                continue
            if row is None or row.lease != run.job.lease:
                self.drop(run.job.subtask_id, run.job.attempt)
            elif row.cancelling:
                self._cancel(run)
        return [row for row in rows if row.subtask_id not in self._runs]

    async def finish(self, run: RemoteRun, ending: Ending) -> None:
        """Commit the ending, tell of it, seal the log. A repeat of the same ending succeeds.

        Raises:
            LeaseLost, Terminal: somebody else has the attempt, or it ended otherwise.
            StoreAway: nothing was committed, or nobody knows; to be repeated.
        """
        async with run.lock:
            if run.ending is None:
                await self._finish(run, ending)
        if run.ending is None or run.ending.status is not ending.status:
            run.check()

    async def fail(self, run: RemoteRun, error: WegentError) -> None:
        """End it as FAILED with this error, and let it be stopped; if it has ended by then, it is left at that."""
        if run.stopper is not None:
            run.stopper()
        try:
            await self.finish(run, failed(run.job.stream, error))
        except (LeaseLost, Terminal, NotFound) as late:
            log.warning("run %s could not be failed: %s", run.job.stream, late.sentence)

    async def give_up(self, run: RemoteRun, reason: str) -> None:
        """Its owner lives, and does not go on with it: by the row's `on_lost` it is FAILED with `reason` as its type,
        or back in the queue. One that has ended by then is left at that; raises `StoreAway`.
        """
        async with run.lock:
            if run.over.is_set():
                return
            try:
                finished = await self.book.give_up(run.job, reason, run.replica.snapshot())
            except (LeaseLost, Terminal, NotFound):
                self.drop(run.job.subtask_id, run.job.attempt)
                return
            await self._returned(run, finished)

    async def give_back(self, run: RemoteRun) -> None:
        """Its owner never began with it: back into the queue, if nothing was said of it; else as `give_up`."""
        held = Held(run.job.subtask_id, run.job.attempt, run.job.lease, run.cancelling)
        async with run.lock:
            if not run.over.is_set():
                finished = await self.book.give_back([held])
                await self._returned(run, finished[0] if finished else None)

    async def _returned(self, run: RemoteRun, finished: Finished | None) -> None:
        if finished is None:
            self.drop(run.job.subtask_id, run.job.attempt)
            self._listener.returned(run.job)
            return
        self._tell(run, finished)
        if run.stopper is not None:
            run.stopper()
        with trio.CancelScope(shield=True), trio.move_on_after(self.limits.flush_timeout):
            await self._streams.end(run.replica, finished.ending)

    async def _finish(self, run: RemoteRun, ending: Ending) -> None:
        run.check()
        await self._read_on(run)
        draft = self._draft(run)
        draft.finish()
        await self._append(run, draft)
        try:
            finished = await commit(self.book, run.job, ending, run.replica.snapshot())
        except (LeaseLost, Terminal, NotFound):
            self.drop(run.job.subtask_id, run.job.attempt)
            raise
        self._tell(run, finished)
        with trio.CancelScope(shield=True), trio.move_on_after(self.limits.flush_timeout):
            await self._streams.end(run.replica, finished.ending)

    def _tell(self, run: RemoteRun, finished: Finished) -> None:
        run.replica.ending = run.ending = finished.ending
        self._let_go(run)
        self._registry.counter(
            "wegent_tasks", "Attempts by outcome", outcome=finished.ending.status.value.lower()
        ).add()
        self._listener.ended(finished, run.replica)

    def cancel(self, subtask_id: int, attempt: int) -> bool:
        """Ask the attempt to end; whether this worker knows of it. Its row says CANCELLING already.

        One that does not end in time is ended as CANCELLED; its lease is void then.
        """
        run = self._runs.get(subtask_id)
        if run is None or run.job.attempt != attempt:
            return False
        self._cancel(run)
        return True

    def _cancel(self, run: RemoteRun) -> None:
        if run.cancelling or run.over.is_set():
            return
        run.cancelling = True
        self._spawn(self._overtime, run)
        if run.stopper is not None:
            run.stopper()

    def drop(self, subtask_id: int, attempt: int, ending: Ending | None = None) -> None:
        """Somebody else ended the attempt (so), or took it; what is here of it is forgotten. Plain."""
        self._notice(subtask_id)
        run = self._runs.get(subtask_id)
        if run is None or run.job.attempt != attempt:
            return
        run.lost = True
        run.replica.ending = run.ending = ending
        self._let_go(run)
        self._streams.discard(run.replica)
        if run.stopper is not None:
            run.stopper()

    def _keep(self, run: RemoteRun) -> None:
        self._runs[run.job.subtask_id] = run
        self._saver.add(run.tail)

    def _let_go(self, run: RemoteRun) -> None:
        self._notice(run.job.subtask_id)
        if self._runs.get(run.job.subtask_id) is run:
            del self._runs[run.job.subtask_id]
        self._saver.discard(run.tail)
        run.over.set()

    def _notice(self, subtask_id: int) -> None:
        if self._looking == subtask_id:
            self._looking = 0

    def _replace(self, subtask_id: int) -> None:
        self._notice(subtask_id)
        if (earlier := self._runs.get(subtask_id)) is not None:
            self.drop(subtask_id, earlier.job.attempt)

    def _spawn(self, call: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Hold a task of a run; a worker that stops starts none, the next one finds the run as it is."""
        try:
            if self._nursery is not None:
                self._nursery.start_soon(call, *args)
        except RuntimeError:
            log.warning("%s comes too late for this worker, which stops", call.__name__)

    async def _overtime(self, run: RemoteRun) -> None:
        with trio.move_on_after(self.limits.cancel_timeout):
            await run.over.wait()
            return
        log.warning("run %s did not end within its cancel timeout", run.job.stream)
        delay = 0.1
        while not run.over.is_set():
            try:
                await self.finish(run, Ending(EndingStatus.CANCELLED))
            except Overloaded:
                await trio.sleep(delay)
                delay = min(2 * delay, self.limits.retry_most)
            except WegentError as error:
                log.warning("run %s could not be cancelled: %s", run.job.stream, error.sentence)
                return

    def _spawn_skill(self, run: RemoteRun, skill: SaidSkill) -> None:
        run.ask(skill.id)
        self._spawn(self.skills.answer, run, skill)
