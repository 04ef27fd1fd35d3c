"""What a connected device is given to do, and told of what it does (protocol §8, server → device)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import trio

from wegent.codec import CodecError, convert, encode
from wegent.core import model
from wegent.core.errors import Conflict, Overloaded, RunFailed, WegentError
from wegent.core.failure import SENTENCE_LIMIT
from wegent.core.model import Ending, EndingStatus
from wegent.core.remote import RemoteRuns
from wegent.core.remote_run import RemoteRun
from wegent.core.text import clean
from wegent.protocol.devices import TaskCancel, TaskExecuteAck, TaskSkill
from wegent.protocol.events import TASK_CANCEL, TASK_CLOSE_SESSION, TASK_EXECUTE, TASK_SKILL
from wegent.protocol.jobs import Job
from wegent.protocol.limits import MAX_FRAME
from wegent.protocol.status import RunReason
from wegent.protocol.tasks import TaskCloseSession
from wegent.server.device_link import Charge, DeviceLimits, Link
from wegent.server.device_telling import DeviceTeller
from wegent.server.persisting import persist
from wegent.server.queueing import Queue

log = logging.getLogger(__name__)
ACK_S = 10.0
"""For the ack of what is no `task:execute`."""
AT_ONCE = 32
"""Jobs that wait for their acks on one connection."""
SPARE = 8_192
"""Bytes of a frame that its envelope may take."""


class DeviceDispatch:
    """Claims rows for connected devices, within their slots, and tells each device of its runs."""

    def __init__(
        self,
        queue: Queue,
        remote: RemoteRuns,
        teller: DeviceTeller,
        limits: DeviceLimits,
        begun: Callable[[RemoteRun], None],
        token_of: Callable[[Job], str] | None = None,
    ) -> None:
        """`begun` is called in the plain step that begins a run; `token_of` makes a job's `auth_token`."""
        self._queue = queue
        self._remote = remote
        self._teller = teller
        self._limits = limits
        self._begun = begun
        self._token_of = token_of

    async def run(self, link: Link) -> None:
        """Claim for the device, as long as its connection lives."""
        limiter = trio.CapacityLimiter(AT_ONCE)
        with self._queue.watch([link.owner]) as link.watch:
            while True:
                await link.watch.wait()
                if not link.ready:
                    continue
                try:
                    jobs = await self._queue.claim({link.owner: link.slots}, link.owner, slots=link.slots)
                except Overloaded as error:
                    log.warning("no runs are claimed for %s: %s", link.owner, error.sentence)
                    continue
                for job in jobs:
                    self._begin(link, job, limiter)

    def _begin(self, link: Link, job: model.Job, limiter: trio.CapacityLimiter) -> None:
        run = self._remote.begin(job, link.owner)
        charge = Charge(run, deadline=trio.current_time() + self._limits.silence)
        link.carry(charge)
        self._begun(run)
        assert link.nursery is not None
        link.nursery.start_soon(self.attend, link, charge, limiter)

    async def attend(self, link: Link, charge: Charge, limiter: trio.CapacityLimiter | None = None) -> None:
        """Tell the device all that is to be told of a run, until that is over; with `limiter`, give it the run first.

        When the connection ends before, what has not been accepted stays in `link.charges`.
        """
        async with trio.open_nursery() as nursery:
            if limiter is not None:
                nursery.start_soon(self._give, link, charge, limiter)
            nursery.start_soon(self._expire, charge)
            nursery.start_soon(self._answer, link, charge)
            nursery.start_soon(_ring_at_end, charge)
            await self._stop(link, charge)
            nursery.cancel_scope.cancel()
        link.drop(charge)

    async def _give(self, link: Link, charge: Charge, limiter: trio.CapacityLimiter) -> None:
        run = charge.run
        async with limiter:
            if run.over.is_set():
                return
            if charge.stopping:
                await persist(self._finish, run)
                return
            try:
                answer = await self._execute(link, charge)
            except WegentError as error:
                charge.sent = False
                await persist(self._remote.fail, run, error)
                return
        if answer is None:
            if not charge.accepted:  # a report says as much as an ack
                await persist(self._remote.give_back, run)
            return
        charge.accepted = run.heard = True
        link.hear_of(charge)
        await persist(self._remote.beat, link.owner)  # the store must know before the device says much

    async def _finish(self, run: RemoteRun) -> None:
        try:
            await self._remote.finish(run, Ending(EndingStatus.CANCELLED))
        except Conflict as error:
            log.info("a run that was not yet given to a device: %s", error.sentence)

    async def _execute(self, link: Link, charge: Charge) -> TaskExecuteAck | None:
        """The device's answer; None: there was none in time.

        Raises:
            WegentError: what keeps the device from running it.
        """
        spec = charge.run.job.spec
        if isinstance(spec, WegentError):
            raise spec
        token = self._token_of(spec) if self._token_of is not None else ""
        try:
            job = fit(attrs.evolve(spec, auth_token=token))
            charge.sent = True
            said = await link.session.call(TASK_EXECUTE, job, timeout=self._limits.accept)
            answer = convert(said, TaskExecuteAck)
        except CodecError as error:
            message = f"the device and the server did not understand each other over task:execute: {error.sentence}"
            raise RunFailed(message, type="protocol") from None
        except (trio.TooSlowError, Conflict, Overloaded):
            log.warning("%s did not take run %s in time", link.owner, charge.run.job.stream)
            return None
        if not answer.accepted and not charge.accepted:
            reason = clean(answer.reason or "").strip()[:SENTENCE_LIMIT] or "it did not say why"
            message = f"the device {clean(link.name)!r} did not accept this run: {reason}"
            raise RunFailed(message)
        return answer

    async def _expire(self, charge: Charge) -> None:
        """A run that its device speaks of no more is lost, though the device is there."""
        while trio.current_time() < charge.deadline:  # noqa: ASYNC110 - it moves
            await trio.sleep_until(charge.deadline)
        log.warning("nothing was heard of run %s any more", charge.run.job.stream)
        await persist(self._remote.give_up, charge.run, RunReason.DEVICE_LOST.value)

    async def _stop(self, link: Link, charge: Charge) -> None:
        """Return when the run is over, and the device told to stop it if it has to."""
        told = False
        while True:
            news = charge.news
            if charge.stopping and charge.sent and not told:
                told = True
                self._teller.slots_changed(link.user_id, link.device_id)
                job = charge.run.job
                asked = TaskCancel(task_id=job.task_id, subtask_id=job.subtask_id, attempt=job.attempt)
                await _call(link, TASK_CANCEL, asked)
            if charge.run.over.is_set() and (told or not charge.stopping or not charge.sent):
                return
            await news.wait()

    async def _answer(self, link: Link, charge: Charge) -> None:
        """Answers to the run's skill requests, each until the device has acknowledged it."""
        run = charge.run
        ids = {"task_id": run.job.task_id, "subtask_id": run.job.subtask_id, "attempt": run.job.attempt}
        while True:
            news = charge.news
            for answer in list(run.answers.values()):
                told = TaskSkill(**ids, id=answer.id, success=answer.success, result=answer.result, error=answer.error)
                if await _call(link, TASK_SKILL, told):
                    run.answers.pop(answer.id, None)
            await news.wait()

    async def close_sessions(self, link: Link) -> None:
        """Tell the device to close what it holds for tasks, as people ask for it."""
        under_way: set[int] = set()
        async with trio.open_nursery() as nursery:
            while True:
                await link.asked_to_close.wait()
                link.asked_to_close = trio.Event()
                while link.closing:
                    task_id, runs = link.closing.popitem()
                    if task_id not in under_way:
                        under_way.add(task_id)
                        nursery.start_soon(self._close, link, task_id, runs, partial(under_way.discard, task_id))

    async def _close(self, link: Link, task_id: int, runs: list[RemoteRun], done: Callable[[], None]) -> None:
        for run in runs:
            await run.over.wait()
        await _call(link, TASK_CLOSE_SESSION, TaskCloseSession(task_id=task_id))
        done()


async def _ring_at_end(charge: Charge) -> None:
    await charge.run.over.wait()
    charge.ring()


async def _call(link: Link, event: str, payload: Any) -> bool:
    """Tell the device something; whether it acknowledged that."""
    try:
        await link.session.call(event, payload, timeout=ACK_S)
    except (trio.TooSlowError, Conflict, Overloaded):
        log.warning("%s did not acknowledge %s", link.owner, event)
        return False
    except CodecError as error:
        log.warning("%s can't be told to %s: %s", event, link.owner, error.sentence)
    return True


def fit(job: Job) -> Job:
    """The job with as much of its history, from the newest message back, as a frame has room for."""
    room = MAX_FRAME - SPARE - len(encode(attrs.evolve(job, history=())))
    kept = len(job.history)
    for message in reversed(job.history):
        room -= len(encode(message))
        if room < 0:
            break
        kept -= 1
    return job if kept == 0 else attrs.evolve(job, history=job.history[kept:])
