"""What devices report of their runs: `task:progress` and `task:complete` (protocol §8)."""

from __future__ import annotations

import logging

from wegent.core.errors import AccessDenied, InvalidPayload, LeaseLost, NotFound, Overloaded
from wegent.core.remote import RemoteRuns
from wegent.core.remote_run import RemoteRun
from wegent.protocol.devices import TaskComplete, TaskProgress, TaskProgressAck
from wegent.protocol.tasks import Success
from wegent.server.device_link import Link
from wegent.server.owners import device_of
from wegent.server.ports.store import Store
from wegent.server.reports import Report, device_ending, device_report

log = logging.getLogger(__name__)


class DeviceReports:
    """Takes reports of runs that belong to the device which reports them."""

    def __init__(self, store: Store, remote: RemoteRuns) -> None:
        self._store = store
        self._remote = remote

    async def progress(self, link: Link, payload: TaskProgress) -> TaskProgressAck:
        """`task:progress`; see `_take` for what is raised."""
        return TaskProgressAck(offset=await self._take(link, payload, device_report(payload)))

    async def complete(self, link: Link, payload: TaskComplete) -> Success:
        """`task:complete`; a repeat of the ending that was committed succeeds."""
        await self._take(link, payload, device_ending(payload))
        return Success()

    async def _take(self, link: Link, payload: TaskProgress | TaskComplete, report: Report) -> int:
        """Say it, and end the run if that is the report's end; the content's length then.

        Raises:
            NotFound, AccessDenied: there is no such run, or it is none of the device's.
            LeaseLost, Terminal: it was taken from the device, or has ended otherwise.
            OffsetMismatch, InvalidPayload: what it says can't be taken, and nothing of it was.
            StoreAway: the ending is not known to be committed; to be repeated.
        """
        run = await self._run_of(link, payload.subtask_id, payload.attempt)
        charge = link.charges.get(payload.subtask_id)
        if charge is not None and charge.run is run:
            charge.accepted = True
            link.hear_of(charge)
        if run.ending is None or report.ending is None:
            await self._remote.say(run, report.said)
        if report.ending is not None:
            await self._remote.finish(run, report.ending)
        elif charge is not None and not charge.reported:
            charge.reported = True
            await self._keep_first(run)
        return run.replica.length()

    async def _keep_first(self, run: RemoteRun) -> None:
        """The store is to know that the device has the run before the device hears that it was heard: else a server
        that is killed now would give the run to it anew.
        """
        try:
            await self._remote.beat(run.owner)
        except Overloaded as error:
            log.warning("run %s has begun, which the store can't note: %s", run.job.stream, error.sentence)

    async def _run_of(self, link: Link, subtask_id: int, asked: int | None) -> RemoteRun:
        run = await self._remote.find(subtask_id)
        if run is None or run.job.target != link.owner:
            raise await self._why_not(link, subtask_id, asked)
        attempt = asked or link.named(subtask_id)
        if attempt is None and run.ending is not None:
            attempt = run.job.attempt  # a repeat, over a connection that was never told of the run
        if attempt is None:
            message = "`attempt`: expected the run's attempt, since this connection was not given the run; got nothing"
            raise InvalidPayload(message)
        if attempt != run.job.attempt:
            message = f"attempt {attempt} of {subtask_id} was taken from this device; the present one is another"
            raise LeaseLost(message)
        return run

    async def _why_not(self, link: Link, subtask_id: int, asked: int | None) -> NotFound | AccessDenied | LeaseLost:
        row = await self._store.read(lambda unit: unit.subtask(subtask_id))
        if row is None:
            return NotFound(f"there is no run {subtask_id}")
        # An earlier attempt of what the user's other device has by now was this device's, for all that is known.
        user_id, _ = device_of(row.target) or (0, "")
        before = user_id == link.user_id and asked is not None and asked < row.attempt
        if row.target == link.owner or link.named(subtask_id) is not None or before:
            return LeaseLost(f"the run {subtask_id} was taken from this device")
        return AccessDenied(f"the run {subtask_id} is none of this device's")
