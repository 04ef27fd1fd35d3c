"""Executor hosts: they take waiting runs over HTTP, and report what those say (protocol §7.1)."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

import attrs
import trio

from wegent.core.errors import (
    AccessDenied,
    InvalidPayload,
    LeaseLost,
    NotFound,
    Overloaded,
    ShuttingDown,
    Terminal,
    WegentError,
)
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.remote import RemoteRuns
from wegent.core.remote_run import RemoteRun
from wegent.core.runs import EXECUTORS_RUNNING
from wegent.protocol.hosts import FetchTasks, ReportReply, ReportStatus
from wegent.protocol.jobs import Job
from wegent.protocol.runner import RunnerSkillAnswer
from wegent.protocol.status import Status
from wegent.server.owners import OwnerKind, host_owner, kind_of, targets_of
from wegent.server.queueing import Queue, Watch
from wegent.server.reports import Report, host_report

log = logging.getLogger(__name__)
MOST_JOBS = 50
"""Jobs of one reply, whatever its `limit`; each may hold a long history."""
MOST_WAITING = 1_000
"""Fetches that wait at once; more hosts than that ask again later."""
RETRY_S = 1.0

Caller = Callable[[], Awaitable[Principal]]
"""Who asks, as of now: raises once the token has been revoked or is over."""
TokenOf = Callable[[Job], str]
"""Makes a job's `auth_token`."""


class Hosts:
    """The server's side of executor hosts. Any worker serves any of them; nothing of a host is kept between calls."""

    def __init__(self, queue: Queue, remote: RemoteRuns, token_of: TokenOf, registry: Registry) -> None:
        self._queue = queue
        self._remote = remote
        self._token_of = token_of
        self._turn = trio.Lock()
        self._waiting = 0
        registry.gauge("wegent_fetches_waiting", "Executor hosts that wait for runs", lambda: self._waiting)
        registry.gauge(*EXECUTORS_RUNNING, self._running, kind=OwnerKind.HOST.value)

    async def fetch(self, caller: Caller, asked: FetchTasks) -> list[Job]:
        """Runs of the targets asked for, claimed and begun; waits for the first one until `wait_s` are over.

        Raises:
            InvalidPayload: no target is named.
            AccessDenied: one is not among the token's; also what `caller` raises.
            ShuttingDown: this worker hands out nothing more.
            Overloaded: too many wait, or the store is away.
        """
        if not asked.targets:
            message = "`targets`: expected at least one"
            raise InvalidPayload(message)
        permit(await caller(), asked.targets)
        if self._queue.paused:
            message = "this server is shutting down; ask again"
            raise ShuttingDown(message, retry_after=RETRY_S)
        if self._waiting >= MOST_WAITING:
            message = f"{MOST_WAITING} executor hosts wait here already; ask again later"
            raise Overloaded(message, retry_after=RETRY_S)
        self._waiting += 1
        try:
            with self._queue.watch(asked.targets) as watch:
                return await self._fetch(caller, asked, watch)
        finally:
            self._waiting -= 1

    def _running(self) -> int:
        return sum(kind_of(run.owner) is OwnerKind.HOST for run in self._remote.of(None))

    async def _fetch(self, caller: Caller, asked: FetchTasks, watch: Watch) -> list[Job]:
        deadline = trio.current_time() + asked.wait_s
        while True:
            async with self._turn:  # of many that are woken by one row, one asks for it, and the others need not
                jobs = await self._claim(asked) if watch.take() else []
            if jobs or self._queue.paused:
                return jobs
            with trio.move_on_at(deadline):
                await watch.turned()
                permit(await caller(), asked.targets)
                continue
            return []

    async def _claim(self, asked: FetchTasks) -> list[Job]:
        limits = dict.fromkeys(asked.targets, asked.limit)
        owner = partial(host_owner, asked.executor)
        claimed = await self._queue.claim(limits, owner, limit=min(asked.limit, MOST_JOBS))
        runs = [self._remote.begin(job, owner(job.subtask_id, job.attempt)) for job in claimed]
        jobs: list[Job] = []
        for run in runs:
            if isinstance(run.job.spec, WegentError):
                await self._fail(run, run.job.spec)
            else:
                jobs.append(self._handed(run.job.spec))
        return jobs

    def _handed(self, spec: Any) -> Job:
        job: Job = spec
        return attrs.evolve(job, auth_token=self._token_of(job))

    async def _fail(self, run: RemoteRun, error: WegentError) -> None:
        """A run that cannot be put together has ended before it began; if that can't be kept, its lease lapses."""
        try:
            await self._remote.fail(run, error)
        except Overloaded as away:
            log.warning("run %s could not be failed: %s", run.job.stream, away.sentence)

    async def report(self, who: Principal, task_id: int, report: ReportStatus) -> ReportReply:
        """Take what a host says of a run, whole or not at all. A repeat of an ending that was taken succeeds.

        Raises:
            LeaseLost: the run is not the caller's, or not any more.
            AccessDenied: its target is none of the token's.
            NotFound: the run is of another task, or the task is no more.
            OffsetMismatch: its text does not continue the log, or differs from it.
            Terminal: the run has ended otherwise.
            InvalidPayload: something in it is not what it should be.
            StoreAway: to be repeated as it is.
        """
        if report.status is Status.PENDING:
            message = "`status`: a run that was fetched is RUNNING, CANCELLING, COMPLETED, FAILED or CANCELLED"
            raise InvalidPayload(message)
        run = _held(await self._remote.find(report.subtask_id), report)
        if run.job.target not in targets_of(who.claims):  # which target that is, is nobody else's business
            message = f"this token is for {_list(targets_of(who.claims))}, not for the target of that run"
            raise AccessDenied(message)
        if run.job.task_id != task_id:
            message = f"task {task_id} has no run {report.subtask_id}"
            raise NotFound(message)
        said = host_report(report)
        try:
            await self._take(run, said)
        except Terminal:
            if said.ending is None or run.ending is None or run.ending.status is not said.ending.status:
                raise
        for answer_id in report.skills_received or ():
            run.answers.pop(answer_id, None)
        return _reply(run, said)

    async def _take(self, run: RemoteRun, report: Report) -> None:
        run.check()
        await self._remote.heard(run)
        await self._remote.say(run, report.said)
        if report.ending is not None:
            await self._remote.finish(run, report.ending)


def permit(who: Principal, targets: Collection[str]) -> None:
    """See that a host's token is for these targets; raises `AccessDenied`."""
    allowed = targets_of(who.claims)
    if denied := [target for target in targets if target not in allowed]:
        message = f"this token is for {_list(allowed)}, not for {_list(denied)}"
        raise AccessDenied(message)


def _list(targets: Collection[str]) -> str:
    named = ", ".join(repr(target) for target in sorted(targets)[:20])
    return named if len(targets) <= 20 else f"{named} and others"


def _held(run: RemoteRun | None, report: ReportStatus) -> RemoteRun:
    """The run that a report speaks of, if its lease proves that; of what is not the caller's nothing is told."""
    if (
        run is None
        or run.job.attempt != report.attempt
        or not hmac.compare_digest(run.job.lease.encode(), report.lease.encode())
        or not (run.over.is_set() or kind_of(run.owner) is OwnerKind.HOST)
    ):
        message = f"attempt {report.attempt} of {report.subtask_id} is not yours, or not any more"
        raise LeaseLost(message)
    return run


def _reply(run: RemoteRun, report: Report) -> ReportReply:
    return ReportReply(
        subtask_id=run.job.subtask_id,
        status=Status(run.status),
        offset=run.replica.length(),
        cancel=report.ending is None and (run.cancelling or run.over.is_set()),
        skills=tuple(
            RunnerSkillAnswer(id=each.id, success=each.success, result=each.result, error=each.error)
            for each in run.answers.values()
        ),
    )
