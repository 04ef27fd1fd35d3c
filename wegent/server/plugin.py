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
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.streamlog import StreamLog
from wegent.core.remote import RemoteRuns
from wegent.core.rooms import Rooms
from wegent.core.runs import RunLimits, Runs
from wegent.core.sessions import Sessions
from wegent.core.streams import Streams
from wegent.core.timers import Timers
from wegent.server.api.revoking import Revoked
from wegent.server.auth import LOGIN_LIFETIME, TokenAuth
from wegent.server.chat import ChatServices, chat_namespace
from wegent.server.claiming import MAX_PER_USER
from wegent.server.closing import Closing, add_close_session
from wegent.server.device_link import DeviceLimits
from wegent.server.device_namespace import device_namespace
from wegent.server.devices import Devices
from wegent.server.dispatch import Dispatcher
from wegent.server.joining import Joining
from wegent.server.owners import Lapses
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
    requires: ClassVar[tuple[type[Any], ...]] = (Store, StreamLog, Auth)
    wants: ClassVar[tuple[type[Any], ...]] = (Executor,)
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
    )
    Config = ChatConfig

    def __init__(self) -> None:
        self._runs: Runs | None = None
        self._queue: Queue | None = None

    async def run(self, config: ChatConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Recover what an earlier life left, then dispatch until cancelled."""
        store, clock, rooms = deps.one(Store), deps.one(Clock), deps.one(Rooms)
        owner = deps.one(Worker).name
        executors = deps.all(Executor)
        teller = Teller(rooms)
        streams = Streams(deps.one(StreamLog), rooms, deps.one(Timers), ChatVoice(), keep=config.keep_streams)
        book = StoreRunBook(store, clock, partial(job_of, lease_s=config.lapses.host))
        queue = Queue(book, deps.one(Registry), per_user=config.max_per_user)
        limits = RunLimits(max_stream=config.max_stream, cancel_timeout=config.cancel_timeout)
        skills = Skills(store, rooms)
        runs = Runs(
            book,
            streams,
            executors,
            teller,
            deps.one(Registry),
            clock=clock,
            owner=owner,
            limits=limits,
            ask=skills.ask_of,
        )
        remote = RemoteRuns(
            book, streams, teller, deps.one(Registry), runs.saver, clock=clock, limits=limits, ask=skills.ask_of
        )
        reaper = Reaper(book, remote, streams, teller, deps.one(Registry), owner=owner, lapses=config.lapses)
        stop = stopper_of(runs, remote)
        dispatcher = Dispatcher(queue, runs, dict.fromkeys(executors, config.max_concurrent))
        teller.after_ending = queue.nudge
        self._runs, self._queue = runs, queue
        tokens = deps.maybe(TokenAuth)
        devices = Devices(
            store,
            clock,
            rooms,
            teller,
            deps.one(Registry),
            queue,
            remote,
            limits=DeviceLimits(window=config.lapses.device),
            token_of=tokens.run_token if tokens is not None else None,
        )
        command = CommandPolicy(config.command).in_force(exposed=deps.one(Worker).exposed)
        window = timedelta(seconds=config.lapses.device)
        targets = Targets(clock, tuple(executors), config.default_executor, command, window)
        sending = Sending(store, clock, rooms, teller, queue.release, targets, stop=stop)
        joining = Joining(store, clock, rooms, streams)
        cancelling = Cancelling(store, clock, teller, stop)
        retrying = Retrying(store, clock, teller, queue.release, targets, stop=stop)
        services = ChatServices(deps.one(Auth), rooms, sending, joining, cancelling, retrying, skills)
        chat = chat_namespace(services)
        add_close_session(chat, Closing(store, clock, teller, stop, remote, devices))
        spoken_by_devices = device_namespace(deps.one(Auth), rooms, devices)
        await store.write(add_defaults)
        await reaper.recover()  # the data folder is locked: no other worker is alive
        async with trio.open_nursery() as nursery:
            await nursery.start(runs.serve)
            await nursery.start(remote.serve)
            await remote.recover()
            await nursery.start(devices.serve)
            nursery.start_soon(queue.run)
            nursery.start_soon(dispatcher.run)
            nursery.start_soon(reaper.run)
            task_status.started(
                [
                    Provision(Namespaces, _ChatNamespaces(chat, spoken_by_devices), self.name),
                    Provision(Runs, runs),
                    Provision(RemoteRuns, remote),
                    Provision(Devices, devices),
                    Provision(Queue, queue),
                    Provision(Streams, streams),
                    Provision(Sending, sending),
                    Provision(Joining, joining),
                    Provision(Cancelling, cancelling),
                    Provision(Teller, teller),
                ]
            )

    async def drain(self, deadline: float) -> None:
        """Claim nothing more, let runs finish, give up those that do not."""
        if self._queue is not None and self._runs is not None:
            self._queue.pause()
            await self._runs.drain(max(0.0, deadline - trio.current_time()))
