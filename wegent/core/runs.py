"""An attempt's life on this worker: one nursery, one ending."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import trio
from attrs import evolve, frozen

from wegent.core.committing import commit
from wegent.core.errors import Conflict, NotFound, Overloaded, RunFailed, WegentError
from wegent.core.failure import failed
from wegent.core.model import Ending, EndingStatus, Job, Outcome
from wegent.core.ports.runbook import Finished, Held, RunBook
from wegent.core.replica import Replica
from wegent.core.saving import Saver, Tail
from wegent.core.sink import Ask, StreamSink
from wegent.core.text import bounded

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.instruments import Registry
    from wegent.core.ports.executor import Executor
    from wegent.core.ports.tracing import Attribute, Tracer
    from wegent.core.streams import Streams

log = logging.getLogger(__name__)
EXECUTORS_RUNNING = ("wegent_executors_running", "Runs at work, by what runs them")
"""The gauge's name and help; its label is `kind`."""


@frozen
class RunLimits:
    """Seconds, but for `max_stream` in code points."""

    max_stream: int = 4_000_000
    cancel_timeout: float = 15.0
    beat_every: float = 5.0
    save_every: float = 1.0
    flush_timeout: float = 5.0
    retry_most: float = 2.0
    give_up_timeout: float = 0.5


class RunListener(ABC):
    """What the application does about runs; plain functions, called in the one step that follows each commit."""

    __slots__ = ()

    @abstractmethod
    def started(self, job: Job) -> None:
        """An attempt was claimed by this worker and begins."""

    @abstractmethod
    def ended(self, finished: Finished, replica: Replica) -> None:
        """An attempt's ending was committed; all of its text was told before."""

    @abstractmethod
    def returned(self, job: Job) -> None:
        """An attempt was given back to the queue."""


class Run:
    """One attempt at work on this worker.

    `ending`: somebody has the right to end it, and nobody else; `lost`: nobody here has. `worked` is set when its
    executor is done and its text flushed, `told` when the ending was told, `ended` when nothing more will come of it.
    """

    __slots__ = (
        "ended", "ending", "job", "lost", "replica", "scope", "sink", "tail", "told", "worked",
    )  # fmt: skip

    def __init__(self, job: Job, replica: Replica, sink: StreamSink) -> None:
        self.job = job
        self.replica = replica
        self.sink = sink
        self.scope = trio.CancelScope()
        self.lost = False
        self.ending = False
        self.told = False
        self.worked = trio.Event()
        self.ended = trio.Event()
        self.tail = Tail(replica, job.lease)


class Runs:
    """Runs jobs that were claimed for this worker, and sees to it that each has one ending."""

    def __init__(
        self,
        book: RunBook,
        streams: Streams,
        executors: Mapping[str, Executor],
        listener: RunListener,
        registry: Registry,
        *,
        clock: Clock,
        owner: str,
        limits: RunLimits | None = None,
        ask: Callable[[Job], Ask] | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self.book = book
        self.saver = Saver(book)
        self.owner = owner
        self._clock = clock
        self.limits = limits or RunLimits()
        self._streams = streams
        self._executors = executors
        self._listener = listener
        self._ask = ask
        self._runs: dict[int, Run] = {}
        self._nursery: trio.Nursery | None = None
        self._idle = trio.lowlevel.ParkingLot()
        self._strange: set[str] = set()
        self._registry = registry
        self._first_chunk = registry.histogram(
            "wegent_first_chunk_seconds", "From an attempt's start to its first text"
        )
        self._duration = registry.histogram("wegent_stream_seconds", "From an attempt's start to its ending")
        registry.gauge("wegent_streams_active", "Streams that this worker is writing", lambda: len(self._runs))
        for name in executors:
            registry.gauge(*EXECUTORS_RUNNING, partial(self.running, name), kind=name)

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, subtask_id: int) -> Run | None:
        """The attempt of that row that is at work here."""
        return self._runs.get(subtask_id)

    def running(self, target: str) -> int:
        """How many attempts of one target are at work."""
        return sum(run.job.target == target for run in self._runs.values())

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the runs, beat for their leases, save their texts; until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._every, self.limits.beat_every, self._beat)
                nursery.start_soon(self._every, self.limits.save_every, self.saver.save)
                task_status.started()
        finally:
            self._nursery = None

    def start(self, job: Job) -> None:
        """Begin an attempt that was claimed for this worker; it counts as running from here on.

        After the end of `serve` nothing begins: the row stays as it is, for the next start to find.
        """
        run = self._open(job)
        if not self._spawn(self._live, run):
            self._close(run)

    def _spawn(self, call: Callable[..., Awaitable[None]], run: Run) -> bool:
        try:
            if self._nursery is not None:
                self._nursery.start_soon(call, run)
                return True
        except RuntimeError:  # cancelled so far that it takes no more tasks
            log.warning("run %s comes too late for this worker, which stops", run.job.stream)
        return False

    def cancel(self, subtask_id: int, attempt: int) -> bool:
        """Ask the attempt to end; whether it is at work here. Its row says CANCELLING already."""
        run = self._runs.get(subtask_id)
        if run is None or run.job.attempt != attempt:
            return False
        if not run.scope.cancel_called:
            self._spawn(self._overtime, run)
        run.scope.cancel()
        return True

    async def drain(self, timeout: float) -> None:
        """Let runs finish for `timeout` seconds, then give up those that have not."""
        with trio.move_on_after(timeout):
            while self._runs:
                await self._idle.park()
        async with trio.open_nursery() as nursery:
            for run in list(self._runs.values()):
                nursery.start_soon(self._give_up, run)

    async def run(self, job: Job) -> None:
        """The attempt's whole life: start, work, flush, ending. Never raises for its failure.

        Cancelled from outside (the server stops): the row stays as it is, for the next start to find.
        """
        await self._live(self._open(job))

    def _open(self, job: Job) -> Run:
        replica = self._streams.open(job.stream, job.revision)
        ask = self._ask(job) if self._ask is not None else None
        sink = StreamSink(self._streams, replica, self._clock, max_length=self.limits.max_stream, ask=ask)
        began = trio.current_time()
        sink.on_first_text = lambda: self._first_chunk.observe(trio.current_time() - began)
        run = self._runs[job.subtask_id] = Run(job, replica, sink)
        self.saver.add(run.tail)
        return run

    def _close(self, run: Run) -> None:
        if self._runs.get(run.job.subtask_id) is run:
            del self._runs[run.job.subtask_id]
        self.saver.discard(run.tail)
        if not run.told:
            self._streams.discard(run.replica)
        run.ended.set()
        if not self._runs:
            self._idle.unpark_all()

    async def _live(self, run: Run) -> None:
        if self._tracer is None:
            await self._whole(run)
            return
        about: dict[str, Attribute] = {
            "task.id": run.job.task_id,
            "subtask_id": run.job.subtask_id,
            "executor.type": run.job.target,
        }
        with self._tracer.span("process_task", about, parent=run.job.traceparent) as span:
            await self._whole(run)
            if run.replica.ending is not None:
                span.set("outcome", run.replica.ending.status.value)

    async def _whole(self, run: Run) -> None:
        started = trio.current_time()
        try:
            self._listener.started(run.job)
            ending = await self._work(run)
            run.worked.set()
            await self._finish(run, ending)
        except Exception:
            log.exception("run %s was left without an ending; its row is given back later", run.job.stream)
        finally:
            self._close(run)
        self._duration.observe(trio.current_time() - started)

    async def _work(self, run: Run) -> Ending:
        """Execute, then flush: pending text goes before the ending, also if it failed or was cancelled."""
        ending = Ending(EndingStatus.CANCELLED)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.sink.pump)
                try:
                    with run.scope:
                        outcome = await self._execute(run)
                        ending = Ending(EndingStatus.COMPLETED, result=bounded(outcome.result))
                except Exception as error:
                    ending = failed(run.job.stream, error)
                with trio.move_on_after(self.limits.flush_timeout):
                    await run.sink.finish()
                nursery.cancel_scope.cancel()
        except Exception as error:  # the log takes no more
            return failed(run.job.stream, error)
        if ending.status is EndingStatus.COMPLETED and run.sink.failure is not None:
            ending = failed(run.job.stream, run.sink.failure)
        return ending

    async def _execute(self, run: Run) -> Outcome:
        if isinstance(run.job.spec, WegentError):
            raise run.job.spec
        executor = self._executors.get(run.job.target)
        if executor is None:
            message = f"this server has no executor {run.job.target!r}"
            raise RunFailed(message)
        job = run.job
        if self._tracer is not None:
            job = evolve(job, traceparent=self._tracer.traceparent())
        return await executor.run(job, run.sink)

    async def _finish(self, run: Run, ending: Ending) -> None:
        """Commit the ending, then tell of it (protocol laws 3 and 4, §6.7); once, whoever comes first."""
        if run.ending:
            await run.ended.wait()
        if run.ending or run.lost:
            return
        run.ending = True
        run.sink.close()
        try:
            finished = await self._commit(run, ending)
            if finished is None:
                return
            self._tell(run, finished)
        finally:
            run.ended.set()
        await self._streams.end(run.replica, finished.ending)

    async def _commit(self, run: Run, ending: Ending) -> Finished | None:
        """Commit the ending, however long the store is away; None if it was refused."""
        snapshot, delay = run.replica.snapshot(), 0.1
        while True:
            try:
                return await commit(self.book, run.job, ending, snapshot)
            except Overloaded:
                await trio.sleep(delay)
                delay = min(2 * delay, self.limits.retry_most)
            except (Conflict, NotFound) as error:
                log.warning("the ending of %s was refused: %s", run.job.stream, error.sentence)
                return None

    def _tell(self, run: Run, finished: Finished) -> None:
        run.replica.ending = finished.ending
        run.told = True
        self.saver.discard(run.tail)
        run.ended.set()
        self._registry.counter(
            "wegent_tasks", "Attempts by outcome", outcome=finished.ending.status.value.lower()
        ).add()
        self._listener.ended(finished, run.replica)

    async def _overtime(self, run: Run) -> None:
        """A cancelled run that does not end in time is ended over its head, however long its executor takes."""
        with trio.move_on_after(self.limits.cancel_timeout):
            await run.ended.wait()
            return
        log.warning("run %s did not end within its cancel timeout", run.job.stream)
        with trio.move_on_after(self.limits.flush_timeout):
            await run.sink.flush()
        await self._finish(run, Ending(EndingStatus.CANCELLED))

    async def _give_up(self, run: Run) -> None:
        if run.ending:
            return
        run.ending = True
        run.scope.cancel()
        with trio.move_on_after(self.limits.give_up_timeout):
            await run.worked.wait()
        run.sink.close()
        try:
            finished = await self.book.give_up(run.job, "worker_lost", run.replica.snapshot())
            if finished is None:
                self._listener.returned(run.job)
            else:
                self._tell(run, finished)
        except WegentError as error:
            log.warning("run %s could not be given up: %s", run.job.stream, error.sentence)
        finally:
            run.ended.set()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await trio.sleep(seconds)
            try:
                await work()
            except Overloaded as error:
                log.warning("%s: %s; going on", work.__name__, error.sentence)

    async def _beat(self) -> None:
        mine = list(self._runs.values())
        held = {(row.subtask_id, row.attempt): row for row in await self.book.beat(self.owner)}
        for run in mine:
            row = held.get((run.job.subtask_id, run.job.attempt))
            if run.ending or run.ended.is_set():
                continue
            if row is None or row.lease != run.job.lease:
                log.warning("run %s belongs to somebody else now", run.job.stream)
                run.lost = True
                run.sink.close()
                run.scope.cancel()
            elif row.cancelling:
                self.cancel(run.job.subtask_id, run.job.attempt)
        await self._give_back(held.values())

    async def _give_back(self, held: Iterable[Held]) -> None:
        """Rows that this worker holds and doesn't run, at two beats one after the other, are taken from it: a claim
        may be committed although the store went away before it could say so.
        """
        leases = {run.job.lease for run in self._runs.values()}
        strange = [row for row in held if row.lease not in leases]
        again = [row for row in strange if row.lease in self._strange]
        self._strange = {row.lease for row in strange}
        if again:
            log.warning("%d rows are held without being run; they are given back", len(again))
            for finished in await self.book.give_back(again):
                self._listener.ended(finished, Replica(finished.job.stream))
