"""An executor host: takes runs from a server over HTTP, and does them here (protocol §7.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from wegent.client.errors import Stranger
from wegent.client.monitor import Monitor
from wegent.client.reporting import Report
from wegent.client.rest import Rest
from wegent.client.running import LocalRun, Reply
from wegent.client.runs import LocalRuns
from wegent.client.session import Backoff
from wegent.codec import CodecError, convert
from wegent.core.errors import Internal, NotFound, RunFailed, WegentError
from wegent.core.model import Job as CoreJob
from wegent.core.model import Outcome
from wegent.core.ports.executor import Executor, Sink
from wegent.protocol.jobs import Job
from wegent.protocol.runner import RunnerSkillAnswer

if TYPE_CHECKING:
    from wegent.core.clock import Clock

log = logging.getLogger(__name__)
ANSWER_S = 10.0
"""Seconds that the server has for an answer, beside those that it was asked to wait."""


@frozen
class HostOptions:
    """`name` of the host; `targets`: the executor here that does what is meant for each; `slots`: runs at once;
    `wait_s`: whole seconds that one question for runs may wait at the server.
    """

    name: str
    targets: Mapping[str, str]
    slots: int = 5
    wait_s: int = 20


class Host:
    """Asks for runs as long as it has a free slot, and reports each until its ending is acknowledged."""

    def __init__(
        self, rest: Rest, executors: Mapping[str, Executor], options: HostOptions, clock: Clock, monitor: Monitor
    ) -> None:
        """`executors` has all that `options.targets` names."""
        self.runs = LocalRuns(monitor)
        self._rest = rest
        self._executors = executors
        self._options = options
        self._clock = clock
        self._monitor = monitor
        self._backoff = Backoff(most=10.0)
        self._fetching = trio.CancelScope()
        self._met = False
        self._in_trouble = False

    async def run(self) -> None:
        """Work until `drain` is called, and then until the last run has ended.

        Raises:
            WegentError: the server refuses for good; what it said is the error.
        """
        async with trio.open_nursery() as nursery:
            with self._fetching:
                await self._fetch(nursery)

    async def drain(self, deadline: float, hurry: trio.Event) -> None:
        """Take nothing more, let runs end until `deadline` or `hurry`, and leave the rest to the server.

        Of a run that does not end in time nothing more is said: its lease lapses, and what becomes of it is what its
        `on_lost` says. That serves those that shall run again, and tells the others why.
        """
        self._fetching.cancel()
        if self.runs:
            self._monitor.stopping(len(self.runs), deadline - trio.current_time())
        await self.runs.finish(deadline, hurry)
        for run in self.runs.values():
            run.stop()

    async def _fetch(self, nursery: trio.Nursery) -> None:
        failures = 0
        while True:
            while (free := self._options.slots - len(self.runs)) <= 0:
                await self.runs.freed()
            try:
                jobs = await self._ask(free)
            except WegentError as error:
                await self._after_trouble(error, failures)
                failures += 1
                continue
            failures = 0
            self._answered()
            for job in jobs:
                self._begin(job, nursery)

    async def _ask(self, limit: int) -> list[Job]:
        asked = {
            "executor": self._options.name,
            "targets": list(self._options.targets),
            "limit": limit,
            "wait_s": self._options.wait_s if self._met else 0,
        }
        answer = await self._rest.call("POST", "tasks/fetch", asked, timeout=self._options.wait_s + ANSWER_S)
        tasks = answer.get("tasks")
        return [job for task in tasks if (job := _job(task)) is not None] if isinstance(tasks, list) else []

    async def _after_trouble(self, error: WegentError, failures: int) -> None:
        if isinstance(error, NotFound):
            message = (
                "this server knows no executor hosts: its address may have a path that is wrong; "
                "or it is too old for this, or not meant for it"
            )
            raise Stranger(message) from error
        if not error.retry and not (self._met and isinstance(error, Internal)):
            raise error
        if not self._in_trouble:
            self._in_trouble = True
            self._monitor.trouble(error.sentence)
        asked = error.details.get("retry_after")
        await trio.sleep(max(asked if isinstance(asked, int | float) else 0.0, self._backoff.wait(failures)))

    def _answered(self) -> None:
        if self._in_trouble or not self._met:
            self._met, self._in_trouble = True, False
            self._monitor.connected()

    def _begin(self, job: Job, nursery: trio.Nursery) -> None:
        targets = self._options.targets
        name = targets.get(job.target) if job.target or len(targets) > 1 else next(iter(targets.values()))
        executor = self._executors[name] if name is not None else NoExecutor(job.target)
        run = LocalRun(job, executor, self._clock, where=f"the executor host {self._options.name}")
        self.runs.begin(nursery, run, self._send, every=job.lease_s / 3)

    async def _send(self, run: LocalRun, report: Report) -> Reply:
        answer = await self._rest.call(
            "PUT", f"tasks/{run.job.task_id}/status", body(run, report), timeout=max(ANSWER_S, run.job.lease_s)
        )
        self._answered()
        offset, skills = answer.get("offset"), answer.get("skills")
        return Reply(
            offset=offset if isinstance(offset, int) else None,
            cancel=answer.get("cancel") is True,
            answers=[each for skill in skills if (each := _answer(skill))] if isinstance(skills, list) else [],
        )


class NoExecutor(Executor):
    """Fails what nothing here can do."""

    __slots__ = ("_target",)

    def __init__(self, target: str) -> None:
        self._target = target

    async def run(self, job: CoreJob, sink: Sink) -> Outcome:
        """Say so."""
        del job, sink
        await trio.lowlevel.checkpoint()
        message = f"The executor host that took this has no executor for the target {self._target!r}."
        raise RunFailed(message)


def body(run: LocalRun, report: Report) -> dict[str, Any]:
    """A report as `PUT /tasks/{id}/status` takes it."""
    job, ending = run.job, report.ending
    told: dict[str, Any] = {
        "subtask_id": job.subtask_id,
        "attempt": job.attempt,
        "lease": job.lease,
        "events": report.events,
        "skills_received": run.reporter.received(),
    }
    if ending is not None:
        told |= {"status": ending.status.value, "result": ending.result or None}
        told |= {"error_message": ending.error, "error_type": ending.error_type}
    return told


def _job(task: Any) -> Job | None:
    """The job, if this program can read it; one that it cannot goes back when its lease lapses."""
    try:
        return convert(task, Job)
    except CodecError as error:
        log.error("the server gave a run that can't be read (%s); is it newer than this program?", error.sentence)
        return None


def _answer(skill: Any) -> RunnerSkillAnswer | None:
    try:
        return convert(skill, RunnerSkillAnswer)
    except CodecError as error:
        log.error("the server gave an answer that can't be read: %s", error.sentence)
        return None
