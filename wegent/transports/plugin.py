"""The port and what speaks on it, as plugins."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import trio
from attrs import frozen

from wegent.core.closing import SHUTTING_DOWN
from wegent.core.errors import ConfigError
from wegent.core.instruments import Registry
from wegent.core.kernel import Worker
from wegent.core.namespaces import Namespace, Namespaces
from wegent.core.outbox import OutboxLimits
from wegent.core.ports.plugin import Deps, Plugin, Provision
from wegent.core.ports.presence import Presence
from wegent.core.ports.transport import Transport
from wegent.core.sessions import Sessions
from wegent.core.timers import Timers
from wegent.server.ports.siblings import Siblings
from wegent.transports.frontdoor import FrontDoor, FrontDoorLimits, listen
from wegent.transports.otherhosts import OtherHosts
from wegent.transports.peers import Peers
from wegent.transports.siblings import PeerSiblings
from wegent.transports.websocket import RawConfig, RawServices, RawTransport


@frozen
class Listening:
    """Where the server listens, as (host, port)."""

    addresses: tuple[tuple[str, int], ...]


@frozen
class FrontDoorConfig(FrontDoorLimits):
    """`peers`: the folder of the sockets by which the workers of one host reach each other; empty: there is one.

    `advertise`: this host's address as other hosts reach it, `http://HOST:PORT`; with it a session's long-polling
    requests may arrive at any host. Empty: they have to arrive at the session's own.
    """

    peers: str = ""
    advertise: str = ""


class FrontDoorPlugin(Plugin):
    """Holds all connections of the port, and the flusher."""

    name = "front-door"
    wants: ClassVar[tuple[type[Any], ...]] = (Presence,)
    provides: ClassVar[tuple[type[Any], ...]] = (FrontDoor, Siblings)
    Config = FrontDoorConfig

    async def run(
        self, config: FrontDoorConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Hold them until all else has stopped."""
        peers = Peers(Path(config.peers), deps.one(Worker).name) if config.peers else None
        hosts = OtherHosts(deps.one(Presence), deps.one(Worker).name, config.advertise) if config.advertise else None
        door = FrontDoor(deps.one(Registry), config, peers=peers, hosts=hosts)
        async with trio.open_nursery() as nursery:
            await nursery.start(door.run)
            if hosts is not None:
                nursery.start_soon(hosts.run)
            task_status.started([Provision(FrontDoor, door), Provision(Siblings, PeerSiblings(peers))])


@frozen
class ListenerConfig:
    """`bind`: HOST:PORT, an IPv6 host in brackets; port 0 picks one. `descriptors`: sockets that listen already, opened
    by whoever started this process; then `bind` only says where.
    """

    bind: str = "127.0.0.1:8000"
    descriptors: tuple[int, ...] = ()


class ListenerPlugin(Plugin):
    """Opens the port once everything behind it is ready, and closes it first of all."""

    name = "listener"
    requires: ClassVar[tuple[type[Any], ...]] = (FrontDoor,)
    wants: ClassVar[tuple[type[Any], ...]] = (Transport,)
    provides: ClassVar[tuple[type[Any], ...]] = (Listening,)
    Config = ListenerConfig

    def __init__(self) -> None:
        self._door: FrontDoor | None = None

    async def run(
        self, config: ListenerConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]
    ) -> None:
        """Accept."""
        self._door = deps.one(FrontDoor)
        sockets = [socket.socket(fileno=each) for each in config.descriptors]
        sockets = sockets or open_port(config.bind, self._door.limits.backlog)
        addresses = tuple((str(name[0]), int(name[1])) for name in (sock.getsockname() for sock in sockets))
        task_status.started([Provision(Listening, Listening(addresses))])
        if (peers := self._door.peers) is None:
            await self._door.accept(sockets)
            return
        asked, passed = peers.listen()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._door.take_over, passed)
                await self._door.accept([*sockets, asked])
                await trio.sleep_forever()
        finally:
            peers.close()

    async def drain(self, deadline: float) -> None:
        """Accept nothing more."""
        if self._door is not None:
            self._door.stop_accepting()


def is_exposed(bind: str) -> bool:
    """Whether a server that listens on HOST:PORT can be reached from other machines."""
    host = bind.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def open_port(bind: str, backlog: int = FrontDoorLimits().backlog) -> list[socket.socket]:
    """Sockets that listen on HOST:PORT.

    Raises:
        ConfigError: it is no address, or can't be had.
    """
    host, found, port = bind.rpartition(":")
    if not found or not port.isdecimal() or int(port) > 65_535:
        message = f"--bind takes HOST:PORT, such as 127.0.0.1:8000, not {bind!r}"
        raise ConfigError(message)
    try:
        return listen(host.strip("[]"), int(port), backlog=backlog)
    except OSError as error:
        message = f"{bind} can't be listened on: {error.strerror or error}"
        raise ConfigError(message) from error


def namespaces_of(deps: Deps) -> Mapping[str, Namespace]:
    """All namespaces that plugins bring, by path.

    Raises:
        ConfigError: two plugins bring the same.
    """
    found: dict[str, Namespace] = {}
    for name, bringer in deps.all(Namespaces).items():
        for path, namespace in bringer.namespaces().items():
            if path in found:
                message = f"plugin {name} brings a second namespace {path}"
                raise ConfigError(message)
            found[path] = namespace
    return found


async def until_cancelled(transport: Transport) -> None:
    """Keep a transport's plugin alive; in the end its clients are told to come back."""
    try:
        await trio.sleep_forever()
    finally:
        transport.close_all(SHUTTING_DOWN)
        with trio.CancelScope(shield=True), trio.move_on_after(4.0):
            await transport.closed()


class RawPlugin(Plugin):
    """The raw WebSocket transport."""

    name = "websocket"
    requires: ClassVar[tuple[type[Any], ...]] = (FrontDoor,)
    wants: ClassVar[tuple[type[Any], ...]] = (Namespaces,)
    provides: ClassVar[tuple[type[Any], ...]] = (Transport,)
    Config = RawConfig

    async def run(self, config: RawConfig, deps: Deps, *, task_status: trio.TaskStatus[Sequence[Provision]]) -> None:
        """Claim the paths, serve, say goodbye."""
        door = deps.one(FrontDoor)
        services = RawServices(
            sessions=deps.one(Sessions),
            timers=deps.one(Timers),
            flusher=door.flusher,
            limits=deps.one(OutboxLimits),
            config=config,
            worker=deps.one(Worker).name,
        )
        transport = RawTransport(services, namespaces_of(deps))
        for path in transport.paths:
            door.claim(path, transport.serve)
        task_status.started([Provision(Transport, transport, self.name)])
        await until_cancelled(transport)
