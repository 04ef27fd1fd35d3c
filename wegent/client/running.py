"""One job at work on this machine, and what is told of it to the server that gave it (protocol §7.1, §8)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from wegent.client.reporting import Report, Reporter
from wegent.client.session import Backoff
from wegent.core import model
from wegent.core.errors import (
    AccessDenied,
    Conflict,
    Internal,
    LeaseLost,
    NotAuthenticated,
    NotFound,
    OffsetMismatch,
    RunFailed,
    Terminal,
    WegentError,
)
from wegent.core.failure import failed
from wegent.core.model import Ending, EndingStatus
from wegent.protocol.jobs import Job
from wegent.protocol.runner import RunnerSkillAnswer

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.ports.executor import Executor

log = logging.getLogger(__name__)
PACE_S = 0.05
"""Seconds between two reports of a run at least; what is said meanwhile goes together."""
TAKEN = (LeaseLost, Terminal, NotFound, AccessDenied)
"""Answers that say: the run is not, or no longer, for us to report."""


@frozen
class Reply:
    """The server's answer to a report; see `ReportReply`. `offset` None: it was not told."""

    offset: int | None = None
    cancel: bool = False
    answers: Sequence[RunnerSkillAnswer] = ()


Send = Callable[["LocalRun", Report], Awaitable[Reply]]
"""Brings a report to the server; raises what the server answers, and what keeps it from answering."""


class LocalRun:
    """One attempt at work here. `lost`: it is somebody else's, and not spoken of any more."""

    def __init__(self, job: Job, executor: Executor, clock: Clock, *, where: str) -> None:
        """`where` it runs, in words, for what nobody foresaw."""
        self.job = job
        self.reporter = Reporter(clock)
        self.lost = False
        self.cancelling = False
        self.began = trio.current_time()
        self._executor = executor
        self._where = where
        self._work_scope = trio.CancelScope()
        self._report_scope = trio.CancelScope()
        self._backoff = Backoff(most=max(0.25, job.lease_s / 6))
        self._refused = False

    @property
    def key(self) -> tuple[int, int]:
        """What tells attempts apart: subtask and attempt."""
        return self.job.subtask_id, self.job.attempt

    @property
    def ending(self) -> Ending | None:
        """How it ended, whether the server knows of it yet or not."""
        return self.reporter.ending

    async def live(self, send: Send, *, every: float) -> None:
        """Work and report, until the server has the ending or the run is lost; a report every so many seconds at least.

        Raises:
            NotAuthenticated: the server does not take our token any more.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._work)
            with self._report_scope:
                await self._report(send, every)
            self._work_scope.cancel()

    def cancel(self) -> None:
        """End the work; it is reported as CANCELLED, or as what it came to before."""
        self.cancelling = True
        self._work_scope.cancel()

    def fail(self, error: RunFailed) -> None:
        """End the work, and report this as why."""
        self.reporter.end(Ending(EndingStatus.FAILED, error.sentence, error.type))
        self._work_scope.cancel()

    def stop(self) -> None:
        """End the work, and say nothing more of it."""
        self.lost = True
        self._work_scope.cancel()
        self._report_scope.cancel()

    def resume(self, channel: str, offset: int) -> None:
        """The server's text of the channel ends there; a server with text that is not this run's is told no more."""
        try:
            self.reporter.resume(channel, offset)
        except RunFailed as error:
            log.error("run %s of task %d: %s", self.key, self.job.task_id, error.sentence)
            self.stop()

    async def _work(self) -> None:
        ending = Ending(EndingStatus.CANCELLED)
        job = core_job(self.job)
        try:
            with self._work_scope:
                outcome = await self._executor.run(job, self.reporter)
                ending = Ending(EndingStatus.COMPLETED, result=outcome.result)
        except Exception as error:
            ending = failed(job.stream, error, self._where)
        self.reporter.end(ending)

    async def _report(self, send: Send, every: float) -> None:
        failures = 0
        while not self.reporter.done:
            report = self.reporter.report()
            try:
                self._take(report, await send(self, report))
            except OffsetMismatch as error:
                self.resume(error.channel, error.offset)
            except TAKEN as error:
                log.info("run %s of task %d is given up: %s", self.key, self.job.task_id, error.sentence)
                self.stop()
            except NotAuthenticated:
                raise
            except WegentError as error:
                await self._after_trouble(error, failures)
                failures += 1
                continue
            failures = 0
            await self._pause(every)

    def _take(self, report: Report, reply: Reply) -> None:
        try:
            self.reporter.delivered(report, reply.offset)
        except RunFailed as error:
            log.error("run %s of task %d: %s", self.key, self.job.task_id, error.sentence)
            self.stop()
        for answer in reply.answers:
            self.answer(answer)
        if reply.cancel:
            self.cancel()

    def answer(self, answer: RunnerSkillAnswer) -> None:
        """What came of a skill that the run asked for."""
        self.reporter.answer(answer.id, answer.success, answer.result if answer.success else answer.error)

    async def _after_trouble(self, error: WegentError, failures: int) -> None:
        if error.retry or isinstance(error, Conflict | Internal):
            self.reporter.again()
            asked = error.details.get("retry_after")
            wait = min(asked, self._backoff.most) if isinstance(asked, int | float) else 0.0
            await trio.sleep(max(wait, self._backoff.wait(failures)))
        elif self._refused:
            log.error("run %s of task %d can't be reported: %s", self.key, self.job.task_id, error.sentence)
            self.stop()
        else:
            self._refused = True
            self.reporter.fail(RunFailed(f"The server refused what the run said: {error.sentence}", type="protocol"))
            self._work_scope.cancel()

    async def _pause(self, every: float) -> None:
        await trio.sleep(PACE_S if self.reporter.ending is None else 0)
        with trio.move_on_after(every):
            await self.reporter.news()


def core_job(job: Job) -> model.Job:
    """A job of the protocol as an executor takes it."""
    resume = None
    if job.resume is not None:
        resume = model.Position(job.resume.subtask_id, job.resume.attempt, job.resume.offset)
    return model.Job(
        task_id=job.task_id,
        subtask_id=job.subtask_id,
        message_id=job.message_id,
        attempt=job.attempt,
        revision=0,
        lease=job.lease,
        target=job.target,
        user_id=job.user.id,
        spec=job,
        resume=resume,
    )
