"""The whole application on memory ports, for tests on a virtual clock: no sockets, no threads, no files.

    async with application(ScriptedExecutor(default=[say("hello")])) as app:
        client = await app.client("alice")
        ack = await client.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        done = await client.wait_for("chat:done")

Run it on a `trio.testing.MockClock(autojump_threshold=0)`. To break or replace a part, subclass `Application` and
override what makes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import trio

from wegent.core.clock import Clock, VirtualClock
from wegent.core.errors import AccessDenied, NotAuthenticated
from wegent.core.instruments import Registry
from wegent.core.model import Job, Principal, StreamId
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.auth import Auth
from wegent.core.ports.executor import Executor
from wegent.core.ports.streamlog import StreamLog
from wegent.core.relay import Relay
from wegent.core.remote import RemoteRuns
from wegent.core.rooms import Rooms
from wegent.core.runs import RunLimits, Runs
from wegent.core.sessions import SessionLimits, Sessions
from wegent.core.streams import Streams
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryStreamLog
from wegent.server.changing import Changing
from wegent.server.chat import ChatServices, chat_namespace
from wegent.server.claiming import job_from
from wegent.server.closing import Closing, add_close_session
from wegent.server.device_link import DeviceLimits
from wegent.server.device_namespace import device_namespace
from wegent.server.devices import Devices
from wegent.server.dispatch import Dispatcher
from wegent.server.editing import Editing
from wegent.server.elsewhere import Elsewhere
from wegent.server.evicting import Evictions
from wegent.server.joining import Joining
from wegent.server.members import Members
from wegent.server.owners import Lapses
from wegent.server.ports.store import Store, Unit
from wegent.server.queueing import Queue
from wegent.server.reaper import Reaper
from wegent.server.records import Subtask, Task
from wegent.server.retrying import Retrying
from wegent.server.runbook import StoreRunBook
from wegent.server.sending import Sending
from wegent.server.skills import Skills
from wegent.server.specs import job_of
from wegent.server.stopping import Cancelling, stopper_of
from wegent.server.targets import Targets
from wegent.server.teams import CHAT_SHELL, add_defaults
from wegent.server.telling import ChatVoice, Teller
from wegent.server.updates import Updates
from wegent.storage.memory import MemoryStore
from wegent.testing.memory_client import MemoryClient

USERS = ("alice", "bob", "carol")


class NamesAuth(Auth):
    """Takes a user's name for a token, with `@` and a number of seconds where it is to expire, and before that with
    `#` and a device's id where it is to be good for that device only.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._users: dict[str, int] = {}

    def add(self, name: str, user_id: int) -> None:
        """From now on the name is a token."""
        self._users[name] = user_id

    async def authenticate(self, token: str | None, scopes: Collection[str]) -> Principal:
        """The user of that name."""
        await trio.lowlevel.checkpoint()
        name, _, seconds = (token or "").partition("@")
        name, _, device_id = name.partition("#")
        scope = "device" if device_id else "user"
        if name not in self._users:
            message = "Invalid or expired token"
            raise NotAuthenticated(message)
        if scope not in scopes:
            message = f"This needs a token of another scope than {scope}"
            raise AccessDenied(message)
        expires = self._clock.time() + float(seconds) if seconds else None
        claims = {"device_id": device_id} if device_id else {}
        return Principal(self._users[name], name, scope=scope, expires_at=expires, claims=claims)


class Application:
    """One worker's chat application. Every part is an attribute; `nursery` is what its clients live in."""

    def __init__(
        self,
        executor: Executor,
        *,
        run_limits: RunLimits | None = None,
        outbox_limits: OutboxLimits | None = None,
        session_limits: SessionLimits | None = None,
        lapses: Lapses | None = None,
        max_concurrent: int = 50,
        device_limits: DeviceLimits | None = None,
        owner: str = "worker-1",
    ) -> None:
        self.executor = executor
        self.owner = owner
        self.run_limits = run_limits or RunLimits()
        self.outbox_limits = outbox_limits or OutboxLimits()
        self.max_concurrent = max_concurrent
        self.clock = VirtualClock()
        self.registry = Registry()
        self.timers = Timers()
        self.rooms = self.make_rooms()
        self.sessions = Sessions(self.rooms, self.timers, self.clock, self.registry, session_limits)
        self.store = self.make_store()
        self.log = self.make_log()
        self.teller = self.make_teller()
        self.streams = self.make_streams()
        self.relay = self.rooms.relay = self.make_relay()
        self.book = StoreRunBook(self.store, self.clock, job_of)
        self.queue = Queue(self.book, self.registry)
        self.elsewhere = None if self.relay is None else Elsewhere(self.relay)
        self.skills = Skills(self.store, self.rooms, elsewhere=self.elsewhere)
        self.runs = self.make_runs({CHAT_SHELL: executor})
        self.remote = self.make_remote()
        self.reaper = Reaper(
            self.book, self.remote, self.streams, self.teller, self.registry, owner=self.owner, lapses=lapses
        )
        self.stop = stopper_of(self.runs, self.remote, self.elsewhere)
        self.dispatcher = Dispatcher(self.queue, self.runs, {CHAT_SHELL: max_concurrent})
        self.teller.after_ending = self.queue.nudge
        self.device_limits = device_limits or DeviceLimits()
        window = timedelta(seconds=self.device_limits.window)
        self.targets = Targets(self.clock, [CHAT_SHELL], CHAT_SHELL, window=window)
        self.updates, self.evictions = Updates(self.rooms), Evictions(self.rooms, self.elsewhere)
        self.sending = self.make_sending()
        if self.elsewhere is not None:
            here = stopper_of(self.runs, self.remote)
            self.elsewhere.serve(
                stop=here, evictions=self.evictions, skills=self.skills, store=self.store, sessions=self.sessions
            )
        self.members = Members(self.store, self.clock, self.teller, self.updates, self.evictions)
        self.changing = Changing(self.store, self.clock, self.teller, self.updates, self.evictions, self.stop)
        self.editing = Editing(self.store, self.sending, self.updates)
        self.joining = self.make_joining()
        self.cancelling = Cancelling(self.store, self.clock, self.teller, self.stop)
        self.auth = NamesAuth(self.clock)
        self.retrying = Retrying(self.store, self.clock, self.teller, self.queue.release, self.targets, stop=self.stop)
        services = ChatServices(
            self.auth, self.rooms, self.sending, self.joining, self.cancelling, self.retrying, self.skills
        )
        self.namespace = chat_namespace(services)
        self.devices = self.make_devices()
        if self.elsewhere is not None:
            self.elsewhere.serve_devices(self.queue, self.devices)
            self.elsewhere.serve_skills(self.remote.skills)
        closing = Closing(self.store, self.clock, self.teller, self.stop, self.remote, self.devices, self.elsewhere)
        add_close_session(self.namespace, closing)
        self.device_namespace = device_namespace(self.auth, self.rooms, self.devices)
        self.users: dict[str, int] = {}
        self.team_id = 0
        self._nursery: trio.Nursery | None = None

    # what a test may replace

    def make_rooms(self) -> Rooms:
        """The rooms."""
        return Rooms(self.registry)

    def make_store(self) -> Store:
        """The store."""
        return MemoryStore(self.clock)

    def make_log(self) -> StreamLog:
        """The log of streams."""
        return MemoryStreamLog(self.timers)

    def make_teller(self) -> Teller:
        """Who tells the rooms of commits."""
        return Teller(self.rooms)

    def make_streams(self) -> Streams:
        """The streams of this worker."""
        return Streams(self.log, self.rooms, self.timers, ChatVoice())

    def make_relay(self) -> Relay | None:
        """What makes rooms reach over workers; this one is the only one."""
        return None

    def make_runs(self, executors: Mapping[str, Executor]) -> Runs:
        """The runs of this worker."""
        return Runs(
            self.book,
            self.streams,
            executors,
            self.teller,
            self.registry,
            clock=self.clock,
            owner=self.owner,
            limits=self.run_limits,
            ask=self.skills.ask_of,
        )

    def make_remote(self) -> RemoteRuns:
        """The runs that are elsewhere."""
        return RemoteRuns(
            self.book,
            self.streams,
            self.teller,
            self.registry,
            self.runs.saver,
            clock=self.clock,
            limits=self.run_limits,
            ask=self.skills.ask_of,
        )

    def make_devices(self) -> Devices:
        """The devices that are connected to this worker."""
        return Devices(
            self.store,
            self.clock,
            self.rooms,
            self.teller,
            self.registry,
            self.queue,
            self.remote,
            limits=self.device_limits,
            former=None if self.relay is None else "none",
            elsewhere=self.elsewhere,
        )

    def make_sending(self) -> Sending:
        """`chat:send`."""
        return Sending(
            self.store,
            self.clock,
            self.rooms,
            self.teller,
            self.queue.release,
            self.targets,
            stop=self.stop,
            evictions=self.evictions,
            updates=self.updates,
        )

    def make_joining(self) -> Joining:
        """`task:join` and `chat:resume`."""
        return Joining(self.store, self.clock, self.rooms, self.streams)

    # its life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        await self.store.write(self._prepare)
        for name, user_id in self.users.items():
            self.auth.add(name, user_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.timers.run)
            if self.relay is not None:
                await nursery.start(self.relay.serve)
            await nursery.start(self.runs.serve)
            await nursery.start(self.remote.serve)
            await self.remote.recover()
            await nursery.start(self.devices.serve)
            nursery.start_soon(self.queue.run)
            nursery.start_soon(self.dispatcher.run)
            nursery.start_soon(self.reaper.run)
            async with trio.open_nursery() as clients:
                self._nursery = clients
                task_status.started()
                await trio.sleep_forever()

    def _prepare(self, unit: Unit) -> None:
        add_defaults(unit)
        team = unit.kind_named("Team", "default", "assistant", user_id=None)
        assert team is not None
        self.team_id = team.id
        found = {name: unit.user_named(name) for name in USERS}
        self.users = {
            name: user.id if user is not None else unit.add_user(name, password_hash=None).id
            for name, user in found.items()
        }

    async def client(self, name: str = "alice", *, limits: OutboxLimits | None = None) -> MemoryClient:
        """A connected client of that user."""
        client = self.new_client(name, limits=limits)
        await client.connect()
        return client

    def new_client(self, name: str = "alice", *, limits: OutboxLimits | None = None) -> MemoryClient:
        """A client that has not connected yet."""
        assert self._nursery is not None
        return MemoryClient(
            self.sessions, self.namespace, self._nursery, token=name, limits=limits or self.outbox_limits
        )

    def take(self, client: MemoryClient) -> None:
        """A client of another worker connects to this one from now on."""
        assert self._nursery is not None
        client.move(self.sessions, self.namespace, self._nursery)

    def new_device(self, token: str) -> MemoryClient:
        """A client of the devices' namespace that has not connected yet."""
        assert self._nursery is not None
        return MemoryClient(self.sessions, self.device_namespace, self._nursery, token=token, limits=self.outbox_limits)

    # what tests look at, past all delays of the store

    def peek(self, work: Any) -> Any:
        """The result of a reading unit, at once."""
        assert isinstance(self.store, MemoryStore)
        return self.store._step(work, writable=False)

    def row(self, subtask_id: int) -> Subtask:
        """A row as it is now."""
        found: Subtask | None = self.peek(lambda unit: unit.subtask(subtask_id))
        assert found is not None
        return found

    def task(self, task_id: int) -> Task:
        """A task as it is now."""
        found: Task | None = self.peek(lambda unit: unit.task(task_id))
        assert found is not None
        return found

    def rows(self, task_id: int) -> list[Subtask]:
        """All rows of a task."""
        found: list[Subtask] = self.peek(lambda unit: unit.subtasks(task_id, limit=10_000))
        return found

    def stream_of(self, subtask_id: int) -> StreamId:
        """The stream of the row's present attempt."""
        row = self.row(subtask_id)
        return StreamId(row.task_id, row.id, row.attempt)

    async def until_ended(self, subtask_id: int) -> Subtask:
        """Wait until the row is terminal and its run is gone."""
        unfinished = ("PENDING", "RUNNING", "CANCELLING")
        while self.row(subtask_id).status in unfinished or self.runs.get(subtask_id):  # noqa: ASYNC110
            await trio.sleep(0.01)
        return self.row(subtask_id)

    def job(self, row: Subtask) -> Job:
        """A job of a claimed row, for those who call `Runs` themselves."""
        return job_from(row)


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[Application]:
    """The application at work; everything of it is cancelled at the block's end."""
    async with trio.open_nursery() as nursery:
        await nursery.start(app.run)
        yield app
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def application(executor: Executor, **options: Any) -> AsyncIterator[Application]:
    """A plain application at work."""
    async with serving(Application(executor, **options)) as app:
        yield app
