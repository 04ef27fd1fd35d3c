"""A user's own machine: does runs that come over a connection which may break (protocol §8)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from attrs import frozen

from wegent.client.errors import ConnectionLost
from wegent.client.link import Answer, Link
from wegent.client.monitor import Monitor
from wegent.client.reporting import Report
from wegent.client.running import LocalRun, Reply
from wegent.client.runs import LocalRuns
from wegent.client.session import UNKNOWN, Backoff, Listener, Session, Unknown
from wegent.codec import CodecError, convert
from wegent.core.errors import Conflict, Internal, NotFound, RunFailed, WegentError
from wegent.core.model import CONTENT, EndingStatus
from wegent.protocol.devices import DeviceRun, TaskCancel, TaskSkill
from wegent.protocol.events import (
    DEVICE_HEARTBEAT,
    DEVICE_REGISTER,
    DEVICE_STATUS,
    TASK_CANCEL,
    TASK_CLOSE_SESSION,
    TASK_COMPLETE,
    TASK_EXECUTE,
    TASK_PROGRESS,
    TASK_SKILL,
)
from wegent.protocol.jobs import Job
from wegent.protocol.limits import DEVICE_HEARTBEAT_S
from wegent.protocol.runner import RunnerSkillAnswer
from wegent.protocol.status import DeviceStatus, ErrorType, Status
from wegent.protocol.tasks import TaskCloseSession

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.ports.executor import Executor

T = TypeVar("T")
log = logging.getLogger(__name__)
ANSWER_S = 60.0
"""Seconds for an answer; a connection on which none comes is given up."""
GOODBYE_S = 5.0
"""Seconds that a device which is stopped waits for its last words to be acknowledged."""
SUCCESS = {"success": True}


@frozen
class DeviceOptions:
    """Who this device is, and how many runs go at once."""

    device_id: str
    name: str
    slots: int = 5


class Device(Listener):
    """Registers on every connection, and goes on where the server's text of each run ends."""

    def __init__(
        self, session: Session, executor: Executor, options: DeviceOptions, clock: Clock, monitor: Monitor
    ) -> None:
        self.runs = LocalRuns(monitor)
        self._session = session
        self._executor = executor
        self._options = options
        self._clock = clock
        self._monitor = monitor
        self._nursery: trio.Nursery | None = None
        self._link: Link | None = None
        """The connection, once the device is registered on it."""
        self._changed = trio.Event()
        self._unregistered = trio.Event()
        self._interval = float(DEVICE_HEARTBEAT_S)
        self._draining = False
        self._backoff = Backoff()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            WegentError: the server refuses this device for good.
        """
        async with trio.open_nursery() as self._nursery:
            with self._session.listening(self):
                self._nursery.start_soon(self._keep_registered)
                await self._keep_beating()

    async def drain(self, deadline: float, hurry: trio.Event) -> None:
        """Take nothing more, let runs end until `deadline` (Trio's clock) or `hurry`, and fail the rest.

        Who stops a device knows that its runs end: their viewers are told so at once. Where there is no connection,
        the server finds out when the device's window is over.
        """
        self._draining = True
        if self.runs:
            self._monitor.stopping(len(self.runs), deadline - trio.current_time())
        if self._link is not None:
            with trio.move_on_after(GOODBYE_S):
                await self._say_offline(self._link)
        await self.runs.finish(deadline, hurry)
        for run in self.runs.values():
            run.fail(RunFailed(f"The device {self._options.name} was stopped.", type=ErrorType.DEVICE_LOST.value))
        await self.runs.finish(trio.current_time() + GOODBYE_S, trio.Event())

    # the connection

    def ready(self) -> None:
        """A connection is there: register on it."""
        self._unregistered.set()

    def lost(self) -> None:
        """It is gone."""
        self._become(None)

    def waiting(self, reason: str) -> None:
        """Not for good: what the server ends for good is raised by the session, and told once."""
        self._monitor.trouble(reason)

    def event(self, name: str, data: Any) -> None:
        """Nothing that needs no answer is of interest here."""

    def asked(self, name: str, data: Any) -> Answer | Unknown:
        """What the server asks of a device."""
        answers = {
            TASK_EXECUTE: self._execute,
            TASK_CANCEL: self._cancel,
            TASK_SKILL: self._answer,
            TASK_CLOSE_SESSION: self._close_session,
        }
        return answers[name](data) if name in answers else UNKNOWN

    def _become(self, link: Link | None) -> None:
        self._link = link
        self._changed.set()
        self._changed = trio.Event()

    async def _keep_registered(self) -> None:
        while True:
            await self._unregistered.wait()
            self._unregistered = trio.Event()
            failures = 0
            while (link := self._session.link) is not None:
                try:
                    await self._ask(link, DEVICE_REGISTER, self._registration(), partial(self._registered, link))
                except ConnectionLost:
                    pass
                except WegentError as error:
                    if not error.retry and not isinstance(error, Conflict | Internal):
                        raise
                    log.warning("the device is not registered yet: %s", error.sentence)
                    await trio.sleep(self._backoff.wait(failures))
                    failures += 1
                    continue
                break

    def _registration(self) -> dict[str, Any]:
        return {
            "device_id": self._options.device_id,
            "name": self._options.name,
            "slot_max": self._options.slots,
            "executor_version": version("wegent"),
        }

    def _registered(self, link: Link, ack: Mapping[str, Any]) -> None:
        """Go on with what the server believes this device has; stop what it does not list. Plain, before all else."""
        interval = ack.get("heartbeat_interval")
        self._interval = float(interval) if isinstance(interval, int | float) and interval > 0 else self._interval
        running = ack.get("running")
        listed = [found for item in running if (found := _read(item, DeviceRun))] if isinstance(running, list) else []
        known = {(each.subtask_id, each.attempt): each for each in listed}
        for key, run in self.runs.items():
            if run.lost:
                continue
            if (there := known.pop(key, None)) is None:
                run.stop()
                continue
            run.resume(CONTENT, there.offset)
            if there.status is Status.CANCELLING:
                run.cancel()
        assert self._nursery is not None
        for each in known.values():
            self._nursery.start_soon(self._disown, link, each)
        self._become(link)
        self._monitor.connected()

    async def _disown(self, link: Link, each: DeviceRun) -> None:
        """Say that a run from an earlier life is no more."""
        told = {
            "subtask_id": each.subtask_id,
            "attempt": each.attempt,
            "status": EndingStatus.FAILED.value,
            "progress": 0,
            "error_message": f"The device {self._options.name} was started anew, and does not have this run any more.",
            "error_type": ErrorType.DEVICE_LOST.value,
        }
        try:
            await self._ask(link, TASK_COMPLETE, told)
        except WegentError as error:  # the next registration, or the window, settles it
            log.warning("run %d.%d could not be given up: %s", each.subtask_id, each.attempt, error.sentence)

    async def _keep_beating(self) -> None:
        while True:
            await self._registered_link()
            await trio.sleep(self._interval)
            if (link := self._link) is None:
                continue
            tasks = sorted({run.job.task_id for run in self.runs.values() if not run.lost})
            told = {"device_id": self._options.device_id, "running_task_ids": tasks}
            try:
                await self._ask(link, DEVICE_HEARTBEAT, told)
            except (NotFound, Conflict):
                self._unregistered.set()
            except WegentError as error:
                log.info("no heartbeat: %s", error.sentence)

    async def _registered_link(self) -> Link:
        while (link := self._link) is None:
            await self._changed.wait()
        return link

    async def _say_offline(self, link: Link) -> None:
        try:
            told = {"device_id": self._options.device_id, "status": DeviceStatus.OFFLINE.value}
            await self._ask(link, DEVICE_STATUS, told)
        except WegentError as error:
            log.info("the server does not know that this device goes: %s", error.sentence)

    async def _ask(self, link: Link, name: str, data: Any, applied: Any = None) -> Mapping[str, Any]:
        with trio.move_on_after(ANSWER_S):
            return await link.ask(name, data, applied)
        link.cut()
        message = f"no answer to {name} within {ANSWER_S:g} s"
        raise ConnectionLost(message)

    # what the server asks for

    def _execute(self, data: Any) -> Answer:
        job = _read(data, Job)
        if job is None:
            return {"accepted": False, "reason": "it is of a kind that this device does not know; is it too old?"}
        if self._draining:  # without an answer it goes back into the queue
            return None
        for run in self.runs.values():
            if run.job.lease == job.lease and not run.lost:
                return {"accepted": True}
            if run.job.subtask_id == job.subtask_id:
                run.stop()
        working = sum(run.ending is None and not run.lost for run in self.runs.values())
        if working >= self._options.slots:
            return {"accepted": False, "reason": f"all of its {self._options.slots} slots are taken"}
        run = LocalRun(job, self._executor, self._clock, where=f"the device {self._options.name}")
        assert self._nursery is not None
        self.runs.begin(self._nursery, run, self._send, every=float("inf"))
        return {"accepted": True}

    def _cancel(self, data: Any) -> Answer:
        asked = _read(data, TaskCancel)
        if asked is not None and (run := self.runs.get((asked.subtask_id, asked.attempt))) is not None:
            run.cancel()
        return SUCCESS

    def _answer(self, data: Any) -> Answer:
        told = _read(data, TaskSkill)
        if told is not None and (run := self.runs.get((told.subtask_id, told.attempt))) is not None:
            run.answer(RunnerSkillAnswer(id=told.id, success=told.success, result=told.result, error=told.error))
        return SUCCESS

    def _close_session(self, data: Any) -> Answer:
        asked = _read(data, TaskCloseSession)
        for run in self.runs.values():
            if asked is not None and run.job.task_id == asked.task_id:
                run.cancel()
        return SUCCESS

    # runs

    async def _send(self, run: LocalRun, report: Report) -> Reply:
        link = await self._registered_link()
        which: dict[str, Any] = {"subtask_id": run.job.subtask_id, "attempt": run.job.attempt}
        offset: Any = None
        if report.events or report.ending is None:
            offset = (await self._ask(link, TASK_PROGRESS, {**which, "events": report.events})).get("offset")
        ending = report.ending
        if ending is not None and offset in (None, report.ends[CONTENT]):
            told = {**which, "status": ending.status.value, "result": ending.result or None}
            told |= {"error_message": ending.error, "error_type": ending.error_type}
            if ending.status is not EndingStatus.COMPLETED:
                told["progress"] = run.reporter.value("progress").get("progress", 0)
            await self._ask(link, TASK_COMPLETE, told)
        return Reply(offset if isinstance(offset, int) else None)


def _read(data: Any, kind: type[T]) -> T | None:
    try:
        return convert(data, kind)
    except CodecError as error:
        log.error("the server said what this program can't read: %s", error.sentence)
        return None
