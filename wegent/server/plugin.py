"""The chat application as a plugin: puts its services together around the kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Literal

import trio
from attrs import field, frozen

from wegent.core.clock import Clock
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.namespaces import Namespace, Namespaces
from wegent.core.ports.auth import Auth
from wegent.core.ports.executor import Executor
from wegent.core.ports.fanout import Fanout
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.streamlog import StreamLog
from wegent.core.ports.tracing import Tracer
from wegent.core.relay import Relay
from wegent.core.remote import RemoteRuns
from wegent.core.rooms import Rooms
from wegent.core.runs import RunLimits, Runs
from wegent.core.sessions import Sessions
from wegent.core.streams import Streams
from wegent.core.timers import Timers
from wegent.server.api.revoking import Revoked
from wegent.server.auth import LOGIN_LIFETIME, TokenAuth
from wegent.server.changing import Changing
from wegent.server.chat import ChatServices, chat_namespace
from wegent.server.claiming import MAX_PER_USER
from wegent.server.closing import Closing, add_close_session
from wegent.server.contexts import Contexts
from wegent.server.device_link import DeviceLimits
from wegent.server.device_namespace import device_namespace
from wegent.server.devices import Devices
from wegent.server.dispatch import Dispatcher
from wegent.server.editing import Editing
from wegent.server.elsewhere import Elsewhere
from wegent.server.evicting import Evictions
from wegent.server.implied import StoreRows, decode_told, encode_told
from wegent.server.joining import Joining
from wegent.server.members import Members
from wegent.server.owners import Lapses
from wegent.server.ports.contexts import ContextProvider
from wegent.server.ports.store import Store
from wegent.server.queueing import Queue
from wegent.server.reaper import Reaper
from wegent.server.retrying import Retrying
from wegent.server.revocation import Revocation
from wegent.server.runbook import StoreRunBook
from wegent.server.sending import Sending
from wegent.server.skills import Skills
from wegent.server.specs import job_of
from wegent.server.stopping import Cancelling, stopper_of
from wegent.server.targets import CommandPolicy, Targets
from wegent.server.teams import add_defaults
from wegent.server.telling import ChatVoice, Teller
from wegent.server.tokens import Signer, read_secret
from wegent.server.updates import Updates


@frozen
class AuthConfig:
    """Days that a login lasts."""

    login_days: float = LOGIN_LIFETIME / timedelta(days=1)


class AuthPlugin(Plugin):
    """Tokens and logins."""

    name = "auth"
    requires: ClassVar[tuple[type[Any], ...]] = (Store,)
    provides: ClassVar[tuple[type[Any], ...]] = (Auth, TokenAuth, Revoked)
    Config = AuthConfig

    async def run(self, config: AuthConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Look for revocations; the secret is made at the first start."""
        store, clock = deps.one(Store), deps.one(Clock)
        secret = await trio.to_thread.run_sync(read_secret, deps.one(Worker).data)
        auth = TokenAuth(store, Signer(secret), clock, login_lifetime=timedelta(days=config.login_days))
        revocation = Revocation(store, clock, deps.one(Sessions), auth)
        task_status.started(
            [
                Provision(Auth, auth),
                Provision(TokenAuth, auth),
                Provision(Revoked, _Revoked(revocation), self.name),
            ]
        )
        await revocation.run()


class _Revoked(Revoked):
    __slots__ = ("_revocation",)

    def __init__(self, revocation: Revocation) -> None:
        self._revocation = revocation

    def revoked(self, jti: str, user_id: int) -> None:
        self._revocation.revoked(jti, user_id)

    def shut_out(self, user_id: int) -> None:
        self._revocation.shut_out(user_id)


@frozen
class ChatConfig:
    """Seconds, code points (`max_stream`), runs at once of each executor (`max_concurrent`) and, of those, of one user.

    `command` says who may run commands on `local` and `process` (see `CommandPolicy`), `lapses` how long a run's owner
    may be silent.
    """

    max_concurrent: int = 50
    max_per_user: int = MAX_PER_USER
    command: Literal["auto", "admin", "everybody", "nobody"] = "auto"
    default_executor: str = "local"
    max_stream: int = RunLimits().max_stream
    cancel_timeout: float = RunLimits().cancel_timeout
    keep_streams: float = 60.0
    lapses: Lapses = field(factory=Lapses)


class _ChatNamespaces(Namespaces):
    __slots__ = ("_all",)

    def __init__(self, *namespaces: Namespace) -> None:
        self._all = {each.path: each for each in namespaces}

    def namespaces(self) -> Mapping[str, Namespace]:
        return self._all


class ChatPlugin(Plugin):
    """`/chat`, and the runs behind it."""

    name = "chat"
    requires: ClassVar[tuple[type[Any], ...]] = (Store, StreamLog, Fanout, Auth)
    wants: ClassVar[tuple[type[Any], ...]] = (Executor, ContextProvider, Tracer)
    provides: ClassVar[tuple[type[Any], ...]] = (
        Namespaces,
        Runs,
        RemoteRuns,
        Devices,
        Queue,
        Streams,
        Sending,
        Joining,
        Cancelling,
        Teller,
        Members,
        Changing,
        Editing,
    )
    Config = ChatConfig

    def __init__(self) -> None:
        self._runs: Runs | None = None
        self._queue: Queue | None = None

    async def run(self, config: ChatConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Recover what an earlier life left, then dispatch until cancelled."""
        work = _assemble(config, deps)
        self._runs, self._queue = work.runs, work.queue
        provisions = _provisions(self.name, config, deps, work)
        await deps.one(Store).write(add_defaults)
        await work.recover(deps.one(Worker))
        async with trio.open_nursery() as nursery:
            if work.relay is not None:
                await nursery.start(work.relay.serve)
            await nursery.start(work.runs.serve)
            await nursery.start(work.remote.serve)
            if work.alone:
                await work.remote.recover()
            await nursery.start(work.devices.serve)
            nursery.start_soon(work.queue.run)
            nursery.start_soon(work.dispatcher.run)
            nursery.start_soon(work.reaper.run)
            task_status.started(provisions)

    async def drain(self, deadline: float) -> None:
        """Claim nothing more, let runs finish, give up those that do not."""
        if self._queue is not None and self._runs is not None:
            self._queue.pause()
            await self._runs.drain(max(0.0, deadline - trio.current_time()))


@frozen
class _Work:
    """What runs are made, done and lost by."""

    teller: Teller
    streams: Streams
    relay: Relay | None
    elsewhere: Elsewhere | None
    queue: Queue
    skills: Skills
    runs: Runs
    remote: RemoteRuns
    reaper: Reaper
    dispatcher: Dispatcher
    devices: Devices

    @property
    def alone(self) -> bool:
        """Whether this worker is the only one: the data folder is locked, and so the log is."""
        return self.relay is None

    async def recover(self, worker: Worker) -> None:
        """Take what an earlier life left: of this worker, or where it is the only one, of any."""
        if self.alone:
            await self.reaper.recover()
        elif worker.former is not None:
            await self.reaper.recover(worker.former)


def _assemble(config: ChatConfig, deps: Deps) -> _Work:
    store, clock, rooms, registry = deps.one(Store), deps.one(Clock), deps.one(Rooms), deps.one(Registry)
    owner, executors = deps.one(Worker).name, deps.all(Executor)
    teller = Teller(rooms)
    streams = Streams(deps.one(StreamLog), rooms, deps.one(Timers), ChatVoice(), keep=config.keep_streams)
    book = StoreRunBook(store, clock, partial(job_of, lease_s=config.lapses.host))
    queue = Queue(book, registry, per_user=config.max_per_user)
    teller.after_ending = queue.nudge
    limits = RunLimits(max_stream=config.max_stream, cancel_timeout=config.cancel_timeout)
    relay = _relay(deps, streams)
    elsewhere = None if relay is None else Elsewhere(relay)
    ask = (skills := Skills(store, rooms, elsewhere=elsewhere)).ask_of
    runs = Runs(
        book,
        streams,
        executors,
        teller,
        registry,
        clock=clock,
        owner=owner,
        limits=limits,
        ask=ask,
        tracer=deps.maybe(Tracer),
    )
    remote = RemoteRuns(book, streams, teller, registry, runs.saver, clock=clock, limits=limits, ask=ask)
    tokens = deps.maybe(TokenAuth)
    return _Work(
        teller,
        streams,
        relay,
        elsewhere,
        queue,
        skills,
        runs,
        remote,
        reaper=Reaper(book, remote, streams, teller, registry, owner=owner, lapses=config.lapses),
        dispatcher=Dispatcher(queue, runs, dict.fromkeys(executors, config.max_concurrent)),
        devices=Devices(
            store,
            clock,
            rooms,
            teller,
            registry,
            queue,
            remote,
            limits=DeviceLimits(window=config.lapses.device),
            token_of=None if tokens is None else tokens.run_token,
            former=None if streams.local else deps.one(Worker).former or "none",
            elsewhere=elsewhere,
        ),
    )


def _relay(deps: Deps, streams: Streams) -> Relay | None:
    """Where several workers share a log, rooms reach over all of them."""
    rooms = deps.one(Rooms)
    if not streams.local:
        rows = StoreRows(deps.one(Store))
        rooms.relay = relay = Relay(
            deps.one(Fanout), rooms, streams, rows, deps.one(Registry), encode=encode_told, decode=decode_told
        )
        return relay
    return None


def _provisions(name: str, config: ChatConfig, deps: Deps, work: _Work) -> list[Provision]:
    """What people and devices ask for, and what other plugins get."""
    store, clock, rooms, auth = deps.one(Store), deps.one(Clock), deps.one(Rooms), deps.one(Auth)
    stop, release = stopper_of(work.runs, work.remote, work.elsewhere), work.queue.release
    command = CommandPolicy(config.command).in_force(exposed=deps.one(Worker).exposed)
    window = timedelta(seconds=config.lapses.device)
    targets = Targets(clock, tuple(deps.all(Executor)), config.default_executor, command, window)
    updates, contexts = Updates(rooms), Contexts(deps.all(ContextProvider))
    evictions = Evictions(rooms, work.elsewhere)
    if work.elsewhere is not None:
        here = stopper_of(work.runs, work.remote)
        sessions = deps.one(Sessions)
        work.elsewhere.serve(stop=here, evictions=evictions, skills=work.skills, store=store, sessions=sessions)
        work.elsewhere.serve_devices(work.queue, work.devices)
        work.elsewhere.serve_skills(work.remote.skills)
    sending = Sending(
        store,
        clock,
        rooms,
        work.teller,
        release,
        targets,
        stop=stop,
        evictions=evictions,
        updates=updates,
        contexts=contexts,
        tracer=deps.maybe(Tracer),
    )
    joining = Joining(store, clock, rooms, work.streams)
    cancelling = Cancelling(store, clock, work.teller, stop)
    retrying = Retrying(store, clock, work.teller, release, targets, stop=stop)
    chat = chat_namespace(ChatServices(auth, rooms, sending, joining, cancelling, retrying, work.skills))
    add_close_session(chat, Closing(store, clock, work.teller, stop, work.remote, work.devices, work.elsewhere))
    return [
        Provision(Namespaces, _ChatNamespaces(chat, device_namespace(auth, rooms, work.devices)), name),
        Provision(Runs, work.runs),
        Provision(RemoteRuns, work.remote),
        Provision(Devices, work.devices),
        Provision(Queue, work.queue),
        Provision(Streams, work.streams),
        Provision(Sending, sending),
        Provision(Joining, joining),
        Provision(Cancelling, cancelling),
        Provision(Teller, work.teller),
        Provision(Members, Members(store, clock, work.teller, updates, evictions)),
        Provision(Changing, Changing(store, clock, work.teller, updates, evictions, stop)),
        Provision(Editing, Editing(store, sending, updates)),
    ]
