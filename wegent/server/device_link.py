"""One registered connection of a device, and the runs that it carries. Everything here is plain: it only sets state."""

from __future__ import annotations

from collections import OrderedDict

import trio
from attrs import frozen

from wegent.core.errors import Conflict
from wegent.core.remote_run import RemoteRun
from wegent.core.sessions import Session
from wegent.protocol.limits import (
    BEAT_S,
    DEVICE_HEARTBEAT_S,
    DEVICE_RESUME_WINDOW_S,
    DEVICE_TTL_S,
    LEASE_S,
    MAX_LIST,
)
from wegent.protocol.status import DeviceStatus
from wegent.server.owners import device_owner
from wegent.server.queueing import Watch


@frozen
class DeviceLimits:
    """Seconds.

    `window`: how long a device that lost its connection keeps its runs, and how long one that is back may take to
    speak of them. `grace`: from the disconnect until people are told. `ttl`: without a heartbeat a device counts as
    offline. `accept`: for the ack of `task:execute`. `silence`: a run of which neither a report nor a heartbeat has
    spoken for so long is lost. `beat`: from one beat for the device's runs to the next.
    """

    window: float = DEVICE_RESUME_WINDOW_S
    grace: float = 2.0
    ttl: float = DEVICE_TTL_S
    accept: float = LEASE_S
    silence: float = 3 * DEVICE_HEARTBEAT_S
    beat: float = BEAT_S


class Charge:
    """A run that a device has, or is about to get, and what it is still to be told of it.

    `accepted`: the device is known to have it; `sent`: it may have it; `reported`: it has reported it. Past `deadline`
    (Trio's clock) the run is lost, unless the device speaks of it.
    """

    __slots__ = ("accepted", "deadline", "news", "reported", "run", "sent", "stopping")

    def __init__(self, run: RemoteRun, *, deadline: float, accepted: bool = False) -> None:
        self.run = run
        self.deadline = deadline
        self.accepted = accepted
        self.sent = accepted
        self.reported = accepted
        self.stopping = run.cancelling
        self.news = trio.Event()
        run.stopper = self.stop
        run.answerer = self.ring

    def stop(self) -> None:
        """The device is to stop it."""
        self.stopping = True
        self.ring()

    def ring(self) -> None:
        """There is something to tell the device, or nothing any more: wake all who wait for `news`."""
        self.news.set()
        self.news = trio.Event()


class Link:
    """A connection that has asked to be a device; of each device one is the current one.

    `registered` is set once it is, `gone` once the connection is over, or another one has taken its place (`replaced`).
    """

    def __init__(self, session: Session, device_id: str, limits: DeviceLimits, owed: dict[RemoteRun, float]) -> None:
        """`owed` is shared by a device's connections: until when a device that came back has to speak of a run."""
        self.limits = limits
        self.owed = owed
        self.session = session
        self.nursery: trio.Nursery | None = None
        """What lives no longer than the connection."""
        self.user_id = session.principal.user_id
        self.device_id = device_id
        self.owner = device_owner(self.user_id, device_id)
        self.name = device_id
        self.slots = 0
        self.status = DeviceStatus.ONLINE
        self.lapsed = False
        self.replaced = False
        self.registered = trio.Event()
        self.gone = trio.Event()
        self.heard_at = trio.current_time()
        self.charges: dict[int, Charge] = {}
        self.closing: dict[int, list[RemoteRun]] = {}
        """Tasks whose session the device is to close, with the runs whose end comes first."""
        self.asked_to_close = trio.Event()
        self.watch: Watch | None = None
        self._named: OrderedDict[int, int] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether the device takes new runs."""
        return self.status is DeviceStatus.ONLINE and not self.lapsed and not self.gone.is_set()

    def wake(self) -> None:
        """It may take runs again: look who waits."""
        if self.watch is not None and self.ready:
            self.watch.heat(self.owner)

    def end(self, *, replaced: bool = False) -> None:
        """The connection is over, or counts no more."""
        self.replaced = self.replaced or replaced
        self.gone.set()

    def check(self) -> None:
        """Raise `Conflict` unless this is the device's current connection."""
        if self.replaced:
            message = f"another connection has registered as the device {self.device_id!r}"
            raise Conflict(message)
        if not self.registered.is_set():
            raise Conflict(NOT_REGISTERED)

    def carry(self, charge: Charge) -> None:
        """The device has this run from now on, or is given it."""
        job = charge.run.job
        self.charges[job.subtask_id] = charge
        self._named[job.subtask_id] = job.attempt
        self._named.move_to_end(job.subtask_id)
        while len(self._named) > MAX_LIST:
            self._named.popitem(last=False)

    def hear_of(self, charge: Charge) -> None:
        """The device has spoken of the run."""
        self.owed.pop(charge.run, None)
        charge.deadline = trio.current_time() + self.limits.silence

    def drop(self, charge: Charge) -> None:
        """Nothing more is to be told of the run."""
        if self.charges.get(charge.run.job.subtask_id) is charge:
            del self.charges[charge.run.job.subtask_id]

    def named(self, subtask_id: int) -> int | None:
        """The row's attempt that was last given to this connection, or named when it registered."""
        return self._named.get(subtask_id)

    def close_session(self, task_id: int, runs: list[RemoteRun]) -> None:
        """Tell the device to close what it holds for the task, once these runs have ended."""
        self.closing[task_id] = runs
        self.asked_to_close.set()


NOT_REGISTERED = "this connection is no device yet; send device:register first and wait for its ack"
