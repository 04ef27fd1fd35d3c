"""Devices: who is there, what they carry, and what becomes of it when they go (protocol §8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import trio

from wegent.codec import encode
from wegent.core.clock import Clock
from wegent.core.closing import OVERLOAD, Close
from wegent.core.errors import AccessDenied, Conflict, InvalidPayload, ShuttingDown
from wegent.core.instruments import Registry
from wegent.core.model import Principal
from wegent.core.remote import RemoteRuns
from wegent.core.remote_run import RemoteRun
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session
from wegent.core.text import clean
from wegent.protocol.auth import Scope
from wegent.protocol.devices import DeviceRegister, DeviceRegisterAck, DeviceReplaced, DeviceRun
from wegent.protocol.events import DEVICE_ONLINE, DEVICE_REPLACED, device_room
from wegent.protocol.jobs import Job
from wegent.protocol.status import DeviceStatus, Status
from wegent.server import device_rows as rows
from wegent.server.device_dispatch import DeviceDispatch
from wegent.server.device_link import NOT_REGISTERED, Charge, DeviceLimits, Link
from wegent.server.device_presence import DevicePresence
from wegent.server.device_reports import DeviceReports
from wegent.server.device_sweeper import DeviceSweeper
from wegent.server.device_telling import DeviceTeller
from wegent.server.elsewhere import Elsewhere
from wegent.server.owners import device_of, device_owner
from wegent.server.persisting import persist
from wegent.server.ports.store import Store
from wegent.server.queueing import Queue
from wegent.server.records import Device
from wegent.server.telling import Teller

log = logging.getLogger(__name__)
MOST_CAPABILITIES = 20_000
LOOKS_AT_ONCE = 16
"""Devices of which the rows are read at once, for other workers may have them by now."""
REPLACED = Close(4403, "Another connection has registered as this device", come_back=False)


class Devices:
    """The devices that are connected to this worker."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rooms: Rooms,
        voice: Teller,
        registry: Registry,
        queue: Queue,
        remote: RemoteRuns,
        *,
        limits: DeviceLimits | None = None,
        token_of: Callable[[Job], str] | None = None,
        former: str | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`voice` tells of runs that end while they wait; `token_of` makes a job's `auth_token`. `former` is what this
        worker was called in its earlier life, where others may be alive; without it no other is.
        """
        self.limits = limits or DeviceLimits()
        self.teller = DeviceTeller(store, rooms)
        self.reports = DeviceReports(store, remote)
        self.presence = DevicePresence(store, clock, remote, self.teller, voice, self.limits)
        self._dispatch = DeviceDispatch(queue, remote, self.teller, self.limits, self._begun, token_of)
        self._former = former
        self._elsewhere = elsewhere
        self._store = store
        self._clock = clock
        self._rooms = rooms
        self._sweeper = DeviceSweeper(store, clock, voice, self.limits.window)
        self._remote = remote
        self._links: dict[str, Link] = {}
        self._by_session: dict[str, Link] = {}
        self._owed: dict[RemoteRun, float] = {}
        """Until when a device that came back has to speak of a run; it comes back no later for coming back often."""
        self._watched: set[RemoteRun] = set()
        self._looking = trio.CapacityLimiter(LOOKS_AT_ONCE)
        self._nursery: trio.Nursery | None = None
        registry.gauge("wegent_devices_online", "Devices that are connected to this worker", lambda: len(self._links))
        for name, count in (("used", self._used), ("max", self._slots)):
            registry.gauge("wegent_device_slots", "Slots of connected devices", count, slots=name)

    def _used(self) -> float:
        return sum(len(link.charges) for link in self._links.values())

    def _slots(self) -> float:
        return sum(link.slots for link in self._links.values())

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold what connections need, until cancelled."""
        await self._store.write(lambda unit: rows.disconnect_all(unit, now=self._clock.now(), worker=self._former))
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self.teller.run)
                nursery.start_soon(self._sweeper.run)
                for run in self._remote.of(None):
                    self._begun(run)
                task_status.started()
        finally:
            self._nursery = None

    def link(self, user_id: int, device_id: str) -> Link | None:
        """The device's connection, if it is connected to this worker."""
        return self._links.get(device_owner(user_id, device_id))

    def linked(self, session: Session, device_id: str | None = None) -> Link:
        """What the session is registered as.

        Raises:
            Conflict: it is not registered, or another connection has taken its place.
            AccessDenied: it is another device than `device_id`.
        """
        link = self._by_session.get(session.id)
        if link is None:
            raise Conflict(NOT_REGISTERED)
        link.check()
        if device_id not in (None, link.device_id):
            message = f"this connection is the device {link.device_id!r}, and speaks for no other"
            raise AccessDenied(message)
        return link

    def permit(self, session: Session, principal: Principal) -> None:
        """Whether another token will do for a session; raises `AccessDenied`."""
        if (link := self._by_session.get(session.id)) is not None:
            _permit(principal, link.device_id)

    def disconnected(self, session: Session) -> None:
        """A session of the namespace has ended."""
        if (link := self._by_session.get(session.id)) is not None:
            link.end()

    # what other workers tell

    def look(self, user_id: int, device_id: str) -> None:
        """The device may have registered at another worker: then it is not this one's any more. Plain."""
        owner = device_owner(user_id, device_id)
        if self._nursery is not None and (owner in self._links or self._remote.of(owner)):
            self._nursery.start_soon(self._look, owner)

    async def look_at_all(self) -> None:
        """The same for every device that is known here."""
        for owner in {*self._links, *(run.owner for run in self._remote.of(None))}:
            if (device := device_of(owner)) is not None:
                self.look(*device)

    async def _look(self, owner: str) -> None:
        user_id, device_id = device_of(owner) or (0, "")
        async with self._looking, self.presence.turn(owner):
            link = self._links.get(owner)
            device = await persist(self._store.read, lambda unit: unit.device(user_id, device_id))
            mine = None if link is None else link.session.id
            if device is None or device.connection in (None, mine):
                return
            if link is not None:
                _displace(link)
            self._remote.forget(owner)

    def close_session(self, user_id: int, device_id: str, task_id: int, rows: Iterable[int]) -> None:
        """Tell the device to close a task's session once these rows have ended, if it is connected here. Plain."""
        link = self.link(user_id, device_id)
        if link is not None:
            link.close_session(task_id, [run for row in rows if (run := self._remote.get(row)) is not None])

    # a registration, and the life of the connection that it makes

    async def register(self, session: Session, asked: DeviceRegister, ack: Callable[[DeviceRegisterAck], None]) -> None:
        """Make the connection the device's current one, and say which runs the server believes it has.

        Raises:
            AccessDenied: the token is for another device.
            InvalidPayload: its capabilities are too large.
            Conflict: this connection is another device, or the user has too many.
        """
        _permit(session.principal, asked.device_id)
        if len(encode(asked.capabilities)) > MOST_CAPABILITIES:
            message = f"`capabilities`: expected at most {MOST_CAPABILITIES} bytes of JSON"
            raise InvalidPayload(message)
        link = await self._link_of(session, asked.device_id)
        async with self.presence.turn(link.owner):
            now = self._clock.now()
            made = await self._store.write(lambda unit: rows.register(unit, link.user_id, asked, session.id, now=now))
            had = self._replace(link)
            if self._elsewhere is not None:
                self._elsewhere.device(link.user_id, link.device_id)
            runs = await self._runs_of(link, made, had)
            self._registered(link, made.device, runs, ack)

    async def _link_of(self, session: Session, device_id: str) -> Link:
        link = self._by_session.get(session.id)
        if link is None:
            if self._nursery is None:
                message = "the server is shutting down; connect again in a moment"
                raise ShuttingDown(message)
            link = await self._nursery.start(self._live, session, device_id)
        if link.device_id != device_id:
            message = f"this connection is the device {link.device_id!r}; another one needs a connection of its own"
            raise Conflict(message)
        return link

    async def _live(self, session: Session, device_id: str, *, task_status: trio.TaskStatus[Link]) -> None:
        """The life of a connection that asked to be a device, and its goodbye."""
        link = self._by_session[session.id] = Link(session, device_id, self.limits, self._owed)
        if not session.open:
            link.end()
        try:
            async with trio.open_nursery() as nursery:
                link.nursery = nursery
                task_status.started(link)
                nursery.start_soon(self._serve, link)
                await link.gone.wait()
                nursery.cancel_scope.cancel()
        except Exception:
            log.exception("the connection of %s failed", link.owner)
            session.disconnect(OVERLOAD)
        finally:
            link.end()
            del self._by_session[session.id]
            if self._links.get(link.owner) is link:
                del self._links[link.owner]
        await self.presence.say_goodbye(link)

    async def _serve(self, link: Link) -> None:
        """What the server does by itself for a device that is registered."""
        await link.registered.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dispatch.run, link)
            nursery.start_soon(self._dispatch.close_sessions, link)
            nursery.start_soon(self.presence.keep, link)

    def _replace(self, link: Link) -> dict[int, Charge]:
        """Let the connection be the device's current one. The runs that the one before was known to carry."""
        before = self._links.get(link.owner)
        if before is link:
            return link.charges
        if not link.gone.is_set():
            self._links[link.owner] = link
        if before is None:
            return {}
        _displace(before)
        return before.charges

    async def _runs_of(self, link: Link, made: rows.Registered, had: dict[int, Charge]) -> list[RemoteRun]:
        """What the device can go on with. What it was never known to have goes back into the queue."""
        runs: list[RemoteRun] = []
        for row in made.rows:
            run = await self._remote.find_anew(row.id)
            if run is None or run.over.is_set() or run.job.lease != row.lease:
                continue
            charge = had.get(row.id)
            if row.reported or run.heard or (charge is not None and charge.run is run and charge.accepted):
                runs.append(run)
            elif charge is None and not link.registered.is_set():
                await self._remote.give_back(run)
        return [run for run in runs if not run.over.is_set()]

    def _registered(
        self, link: Link, device: Device, runs: list[RemoteRun], ack: Callable[[DeviceRegisterAck], None]
    ) -> None:
        if link.gone.is_set():
            message = "the connection has ended"
            raise Conflict(message)
        link.name, link.slots, link.status, link.lapsed = device.name, device.slot_max, DeviceStatus.ONLINE, False
        link.heard_at = trio.current_time()
        self._rooms.enter(link.session, device_room(link.user_id, link.device_id))
        ack(DeviceRegisterAck(device_id=device.device_id, running=tuple(_device_run(run) for run in runs)))
        for run in runs:
            self._carry(link, run)
        link.registered.set()
        link.wake()
        self.teller.changed(DEVICE_ONLINE, device)
        self.teller.slots_changed(link.user_id, link.device_id)

    def _carry(self, link: Link, run: RemoteRun) -> None:
        present = link.charges.get(run.job.subtask_id)
        if present is not None and present.run is run:
            return
        deadline = self._owed.setdefault(run, trio.current_time() + self.limits.window)
        charge = Charge(run, accepted=True, deadline=deadline)
        link.carry(charge)
        self._begun(run)
        assert link.nursery is not None
        link.nursery.start_soon(self._dispatch.attend, link, charge)

    def _begun(self, run: RemoteRun) -> None:
        """A run of a device is known here: people see it in its slot, until it is over. Plain."""
        if run in self._watched or device_of(run.owner) is None or self._nursery is None:
            return
        self._watched.add(run)
        self._nursery.start_soon(self._watch, run)

    async def _watch(self, run: RemoteRun) -> None:
        user_id, device_id = device_of(run.owner) or (0, "")
        self.teller.slots_changed(user_id, device_id)
        await run.over.wait()
        self._watched.discard(run)
        self._owed.pop(run, None)
        self.teller.slots_changed(user_id, device_id)


def _displace(link: Link) -> None:
    """Another connection is the device from now on."""
    link.end(replaced=True)
    link.session.emit(DEVICE_REPLACED, DeviceReplaced(device_id=link.device_id, error=REPLACED.reason))
    link.session.disconnect(REPLACED)


def _permit(principal: Principal, device_id: str) -> None:
    mine = principal.claims.get("device_id")
    if principal.scope == Scope.DEVICE and mine != device_id:
        message = f"this token is for the device {clean(str(mine))!r}, not for {device_id!r}"
        raise AccessDenied(message)


def _device_run(run: RemoteRun) -> DeviceRun:
    job = run.job
    return DeviceRun(
        task_id=job.task_id,
        subtask_id=job.subtask_id,
        attempt=job.attempt,
        lease=job.lease,
        offset=run.replica.length(),
        status=Status(run.status),
    )
