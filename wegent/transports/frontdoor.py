"""The one port: reads the head of a connection's first request, and decides who serves the connection.

A WebSocket upgrade goes to the transport that claims its path. Everything else goes, with the bytes already read, to
the HTTP server for the connection's whole life.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from wegent.core.instruments import Registry
from wegent.core.reader import Reader
from wegent.transports.flusher import Flusher
from wegent.transports.otherhosts import OtherHosts
from wegent.transports.peers import Peers
from wegent.transports.plain import PlainSocket
from wegent.transports.ws import HandshakeError, Request, is_upgrade, parse_request, refusal

log = logging.getLogger(__name__)
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

CONNECTION = "wegent connection"
"""What all tasks of connections are called: Trio would write a name for each."""

Claim = Callable[[Request, PlainSocket], Awaitable[None]]
"""Serves an upgrade on its path; the front door closes the socket when it returns."""
Fallback = Callable[[PlainSocket], Awaitable[None]]
"""Serves every other connection; `head_rest` holds what was read."""


@frozen
class FrontDoorLimits:
    """Bytes of a request's head, seconds to send it, connections at once whose head is not read yet, connections."""

    head: int = 16_384
    head_timeout: float = 10.0
    waiting: int = 2_000
    connections: int = 100_000
    backlog: int = 4_096


def listen(host: str, port: int, *, backlog: int = 4_096) -> list[socket.socket]:
    """Listening sockets for every address of `host`; port 0 picks one, the same for all.

    Raises:
        OSError: the address can't be had.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        if sockets and port == 0:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(address)
        except OSError:
            sock.close()
            for earlier in sockets:
                earlier.close()
            raise
        sock.listen(backlog)
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


class FrontDoor:
    """Accepts connections and hands them on; holds the tasks that read and write for all of them."""

    def __init__(
        self,
        registry: Registry,
        limits: FrontDoorLimits | None = None,
        *,
        peers: Peers | None = None,
        hosts: OtherHosts | None = None,
    ) -> None:
        """`peers` are the other workers of this host, to whom connections go that are about their sessions; `hosts`
        knows those of other hosts.
        """
        self.limits = limits or FrontDoorLimits()
        self.peers = peers
        self.hosts = hosts
        self.flusher = Flusher()
        self._reader = Reader()
        self._claims: dict[str, Claim] = {}
        self._fallback: Fallback | None = None
        self._waiting = 0
        self._open = 0
        self._nursery: trio.Nursery | None = None
        self._accepting = trio.CancelScope()
        registry.gauge("wegent_tcp_connections", "Open connections of the front door", lambda: self._open)
        registry.gauge("wegent_slow_readers", "Connections that take no more for now", lambda: self.flusher.blocked)

    def claim(self, path: str, serve: Claim) -> None:
        """Upgrades on `path` go to `serve`."""
        self._claims[path] = serve

    def fall_back(self, serve: Fallback) -> None:
        """Everything that nobody claims goes to `serve`."""
        self._fallback = serve

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold flusher, reader and every connection, until cancelled."""
        async with trio.open_nursery() as flushing:
            await flushing.start(self.flusher.run)
            await flushing.start(self._reader.run)
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()

    async def accept(self, sockets: list[socket.socket]) -> None:
        """Accept connections until `stop_accepting` or cancellation; `run` holds them, so they go on after that.

        The listening sockets are closed in the end.
        """
        try:
            with self._accepting:
                async with trio.open_nursery() as nursery:
                    for sock in sockets:
                        nursery.start_soon(self._accept, sock)
        finally:
            for sock in sockets:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    def stop_accepting(self) -> None:
        """No new connections from now on."""
        self._accepting.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        assert self._nursery is not None
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(64):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUT_OF_FILES:
                        log.error("no connection can be accepted: %s", error.strerror)
                        await trio.sleep(0.1)
                    break
                if self._waiting >= self.limits.waiting or self._open >= self.limits.connections:
                    sock.close()
                    continue
                self._nursery.start_soon(self._connection, sock, str(address[0]) if address else "", name=CONNECTION)

    async def take_over(self, listener: socket.socket) -> None:
        """Take connections that other workers hand over, until cancelled; the listening socket is closed in the end."""
        assert self._nursery is not None
        with trio.socket.from_stdlib_socket(listener) as taking:
            while True:
                given, _ = await taking.accept()
                self._nursery.start_soon(self._taken, given, name=CONNECTION)

    async def _taken(self, given: trio.socket.SocketType) -> None:
        assert self.peers is not None
        with trio.move_on_after(self.limits.head_timeout):
            if (taken := await self.peers.take_over(given)) is not None:
                sock, read = taken
                assert self._nursery is not None
                self._nursery.start_soon(self._connection, sock, "", read, name=CONNECTION)

    async def _connection(self, sock: socket.socket, peer: str, read: bytes = b"") -> None:
        self._open += 1
        plain = PlainSocket(sock, peer, self._reader)
        plain.head_rest = read
        try:
            await self._server(plain, await self._head(plain))
        except Exception:
            log.exception("a connection failed")
        finally:
            plain.close()
            self._open -= 1

    def _server(self, plain: PlainSocket, request: Request | HandshakeError | None) -> Awaitable[None]:
        """Who serves the connection; plain, so that the request is gone where nobody keeps it."""
        if isinstance(request, HandshakeError):
            plain.send_now(refusal(request.status, request.reason, request.headers))
        elif request is not None and (owner := self._elsewhere(request)) is not None:
            return self._hand_over(plain, owner)
        elif request is not None and is_upgrade(request) and (claim := self._claims.get(request.path)) is not None:
            return claim(request, plain)
        elif request is not None and is_upgrade(request) and request.method == "GET":
            plain.send_now(refusal(404, "No WebSocket is served here."))
        elif request is not None and self._fallback is not None:
            return self._fallback(plain)
        return plain.finish(self.limits.head_timeout)

    def _elsewhere(self, request: Request) -> str | None:
        """The worker of this host to which an upgrade of a session belongs, if that is another one."""
        if self.peers is None or not is_upgrade(request):
            return None
        return self.peers.owner(request.parameter("sid"))

    async def _hand_over(self, plain: PlainSocket, owner: str) -> None:
        assert self.peers is not None
        if not await self.peers.hand_over(owner, plain.sock, plain.head_rest):
            plain.send_now(refusal(400, "Session ID unknown"))
            await plain.finish(self.limits.head_timeout)

    async def _head(self, plain: PlainSocket) -> Request | HandshakeError | None:
        """The first request's head; None where the connection ended before it was whole.

        What was read is in `head_rest`: all of it, or, for an upgrade that somebody claims, what follows the head.
        """
        read, end = bytearray(), -1
        self._waiting += 1
        try:
            with trio.move_on_after(self.limits.head_timeout) as patience:
                while (end := read.find(b"\r\n\r\n")) < 0 and len(read) <= self.limits.head:
                    data = await plain.receive()
                    if not data:
                        return None
                    read += data
        finally:
            self._waiting -= 1
        if patience.cancelled_caught:
            return HandshakeError(408, f"A request head is sent within {self.limits.head_timeout:g} seconds.")
        if not -1 < end <= self.limits.head:
            return HandshakeError(431, f"A request head has at most {self.limits.head} bytes.")
        try:
            request = parse_request(bytes(read[: end + 4]))
        except HandshakeError as error:
            return error
        upgrade = is_upgrade(request) and request.path in self._claims and self._elsewhere(request) is None
        plain.head_rest = bytes(read[end + 4 :]) if upgrade else bytes(read)
        return request
