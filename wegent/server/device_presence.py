"""Whether a device is there: what its connection, its heartbeats and its own word make of it (protocol §8)."""

from __future__ import annotations

import logging
from datetime import datetime
from weakref import WeakValueDictionary

import trio

from wegent.core.clock import Clock
from wegent.core.errors import NotFound, Overloaded
from wegent.core.ports.runbook import Held
from wegent.core.remote import RemoteRuns
from wegent.core.replica import Replica
from wegent.protocol.devices import DeviceHeartbeat, DeviceStatusReport
from wegent.protocol.events import DEVICE_OFFLINE, DEVICE_ONLINE, DEVICE_STATUS
from wegent.protocol.status import DeviceStatus
from wegent.protocol.tasks import Success
from wegent.server import device_rows as rows
from wegent.server.device_link import DeviceLimits, Link
from wegent.server.device_telling import DeviceTeller
from wegent.server.persisting import persist
from wegent.server.ports.store import Store
from wegent.server.records import Device
from wegent.server.telling import Teller

log = logging.getLogger(__name__)


class DevicePresence:
    """Keeps the rows of connected devices true, and their leases alive; people are told of each change."""

    def __init__(
        self, store: Store, clock: Clock, remote: RemoteRuns, teller: DeviceTeller, voice: Teller, limits: DeviceLimits
    ) -> None:
        self._store = store
        self._clock = clock
        self._remote = remote
        self._teller = teller
        self._voice = voice
        self._limits = limits
        self._turns: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    def turn(self, owner: str) -> trio.Lock:
        """Held by who changes a device's row, so that changes are told in the order of their commits."""
        return self._turns.setdefault(owner, trio.Lock())

    async def keep(self, link: Link) -> None:
        """Beat for the device, and see whether it sends heartbeats; until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat, link)
            nursery.start_soon(self._lapse, link)

    async def _beat(self, link: Link) -> None:
        strange: set[str] = set()
        while True:
            await trio.sleep(self._limits.beat)
            if link.lapsed:
                continue
            try:
                unknown = await self._remote.beat(link.owner)
                again = [held for held in unknown if held.lease in strange]
                strange = {held.lease for held in unknown}
                if again:
                    await self._give_back(link, again)
            except Overloaded as error:
                log.warning("%s can't beat: %s; going on", link.owner, error.sentence)

    async def _give_back(self, link: Link, held: list[Held]) -> None:
        """Rows that are the device's and known to nobody, at two beats one after the other: a claim may be committed
        although the store went away before it could say so.
        """
        log.warning("%d rows of %s were never begun; they are given back", len(held), link.owner)
        for finished in await self._remote.book.give_back(held):
            self._voice.ended(finished, Replica(finished.job.stream))

    async def _lapse(self, link: Link) -> None:
        """A device that is connected and sends no heartbeats counts as offline, until it sends one."""
        while True:
            while trio.current_time() < link.heard_at + self._limits.ttl:  # noqa: ASYNC110 - it moves
                await trio.sleep_until(link.heard_at + self._limits.ttl)
            link.heard_at = trio.current_time()
            if not link.lapsed:
                link.lapsed = True
                device = await persist(self._disconnect, link, self._clock.now())
                if device is not None:
                    await persist(self._call_offline, link, device)

    async def say_goodbye(self, link: Link) -> None:
        """The connection is over: put back what the device never took, begin its window; after a grace, tell people."""
        for charge in list(link.charges.values()):
            if not charge.accepted:
                await persist(self._remote.give_back, charge.run)
        device = await persist(self._disconnect, link, self._clock.now())
        if device is not None:
            await trio.sleep(self._limits.grace)
            await persist(self._call_offline, link, device)

    async def _disconnect(self, link: Link, now: datetime) -> Device | None:
        async with self.turn(link.owner):
            return await self._store.write(
                lambda unit: rows.disconnect(unit, link.user_id, link.device_id, link.session.id, now=now)
            )

    async def _call_offline(self, link: Link, left: Device) -> None:
        async with self.turn(link.owner):
            device = await self._store.write(
                lambda unit: rows.call_offline(unit, link.user_id, link.device_id, left.offline_since)
            )
            if device is not None:
                self._teller.changed(DEVICE_OFFLINE, device)

    async def heartbeat(self, link: Link, payload: DeviceHeartbeat) -> Success:
        """`device:heartbeat`: it is there, and has the runs of these tasks.

        Raises:
            Conflict: another connection has registered as the device.
            NotFound: the device was deleted.
        """
        link.heard_at = trio.current_time()
        listed = frozenset(payload.running_task_ids)
        for charge in link.charges.values():
            if charge.accepted and charge.run.job.task_id in listed:
                link.hear_of(charge)
        async with self.turn(link.owner):
            link.check()
            now = self._clock.now()
            device = await self._store.write(
                lambda unit: rows.hear(unit, link.user_id, link.device_id, link.session.id, now=now)
            )
            if device is None:
                raise NotFound(DELETED)
            self._back(link, device)
        await self._remote.beat(link.owner)
        return Success()

    def _back(self, link: Link, device: Device) -> None:
        if link.lapsed:
            link.lapsed, link.status = False, DeviceStatus(device.status)
            link.wake()
            self._teller.changed(DEVICE_ONLINE, device)

    async def status(self, link: Link, payload: DeviceStatusReport) -> Success:
        """`device:status`: whether it takes new runs; raises as `heartbeat`."""
        async with self.turn(link.owner):
            link.check()
            device = await self._store.write(
                lambda unit: rows.set_status(unit, link.user_id, link.device_id, link.session.id, payload.status)
            )
            if device is None:
                raise NotFound(DELETED)
            link.status = payload.status
            link.wake()
            self._teller.changed(DEVICE_STATUS, device)
        return Success()


DELETED = "this device was deleted, or counts as offline; send device:register again"
