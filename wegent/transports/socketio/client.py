"""The Socket.IO 5 side of one client: its namespaces, events and acks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import trio

from wegent.core.closing import Close
from wegent.core.errors import InvalidPayload, NotAuthenticated, Overloaded, WegentError
from wegent.core.namespaces import Namespace
from wegent.core.sessions import Session
from wegent.core.timers import Timer
from wegent.transports.socketio import packet
from wegent.transports.socketio.engineio import EngineSession, SocketIOServices
from wegent.transports.socketio.packet import Decoder, Packet
from wegent.transports.socketio.values import PacketError
from wegent.transports.socketio.wires import Args, SocketIOWire

NAMESPACES = 16
"""Namespaces that one connection may be in."""


class Client(EngineSession):
    """One connection of a stock client, with a session for each namespace that it is in."""

    def __init__(
        self,
        services: SocketIOServices,
        sid: str,
        nursery: trio.Nursery,
        namespaces: Mapping[str, Namespace],
        *,
        transport: str,
        ended: Callable[[str], None],
    ) -> None:
        super().__init__(services, sid, nursery, transport=transport, ended=ended)
        self._namespaces = namespaces
        loose = [path for path, namespace in namespaces.items() if namespace.loose]
        self._decoder = Decoder(services.config.max_payload, loose=loose)
        self._sessions: dict[str, Session] = {}
        self._opening: dict[str, trio.CancelScope] = {}
        self._refused: Packet | None = None
        self._lonely: Timer | None = None
        self._expect_connect()

    def receive_text(self, data: bytes) -> bool:
        """Take a packet's text."""
        try:
            found = self._decoder.text(data)
        except PacketError as error:
            return self._bad(error)
        return found is None or self._handle(found)

    def receive_binary(self, data: bytes) -> bool:
        """Take a packet's attachment."""
        try:
            found = self._decoder.binary(data)
        except PacketError as error:
            return self._bad(error)
        return found is None or self._handle(found)

    @property
    def refusing(self) -> bool:
        """Whether an event waits for `make_room`."""
        return self._refused is not None

    async def make_room(self) -> None:
        """Wait until the event that was refused last can be taken, or answer that it can't be."""
        refused, self._refused = self._refused, None
        session = self._sessions.get(refused.namespace) if refused is not None else None
        if refused is None or session is None:
            return
        await session.room_for_more()
        if not self._handle(refused):
            self._refused = None
            session.refuse(refused.ack_id, Overloaded("too many of your events are waiting; slow down"))

    def _handle(self, got: Packet) -> bool:
        if got.kind == packet.EVENT:
            return self._event(got)
        if got.kind == packet.ACK:
            session = self._sessions.get(got.namespace)
            if session is not None and got.ack_id is not None:
                session.receive_ack(got.ack_id, _payload(got.data))
        elif got.kind == packet.CONNECT:
            self._connect(got.namespace, got.data)
        elif got.kind == packet.DISCONNECT:
            self._leave(got.namespace)
        return True

    def _event(self, got: Packet) -> bool:
        session = self._sessions.get(got.namespace)
        if session is None:
            self._unheard(got)
            return True
        if session.receive(got.data[0], _payload(got.data[1:]), got.ack_id):
            return True
        self._refused = got
        return False

    def _unheard(self, got: Packet) -> None:
        if got.ack_id is not None and not self.closing:
            error = NotAuthenticated(f"connect to the namespace {got.namespace[:100]} first")
            self.outbox.put(self.wire.ack(got.namespace, got.ack_id, error.as_payload()))

    def _bad(self, error: PacketError) -> bool:
        """A bad event is answered; what breaks the stream ends it."""
        if error.namespace is None:
            raise error
        session = self._sessions.get(error.namespace)
        if session is not None:
            session.refuse(error.ack_id, InvalidPayload(error.reason))
        return True

    # namespaces

    def _connect(self, path: str, auth: Any) -> None:
        if path in self._sessions or path in self._opening or self.closing:
            return
        if path not in self._namespaces:
            self._refuse(path, "Invalid namespace", "NOT_FOUND")
        elif len(self._sessions) + len(self._opening) >= NAMESPACES:
            self._refuse(path, f"A connection is in at most {NAMESPACES} namespaces", "OVERLOADED")
        else:
            scope = self._opening[path] = trio.CancelScope()
            self.start_soon(self._open, path, auth, scope)

    async def _open(self, path: str, auth: Any, scope: trio.CancelScope) -> None:
        sid = f"{self.services.worker}.{secrets.token_urlsafe(18)}"
        with scope:
            try:
                await self.services.sessions.open(self, self._namespaces[path], id=sid, auth=auth, greet=self._greet)
            except WegentError as error:
                if scope.cancel_called:
                    return
                del self._opening[path]
                if error.retry:
                    self.close(Close(error.close_code, error.sentence, come_back=True))
                else:
                    self._refuse(path, error.sentence, error.code)

    def _greet(self, session: Session) -> None:
        del self._opening[session.namespace]
        self._sessions[session.namespace] = session
        if self._lonely is not None:
            self._lonely.cancel()
            self._lonely = None
        self.outbox.put(self.wire.message(packet.connect(session.namespace, {"sid": session.id})))

    def _refuse(self, path: str, sentence: str, code: str) -> None:
        why = {"message": sentence, "code": code, "data": {"code": code}}  # the stock client shows `message` and `data`
        self.outbox.put(self.wire.message(packet.connect_error(path, why)))
        self._expect_connect()

    def _leave(self, path: str) -> None:
        if (scope := self._opening.pop(path, None)) is not None:
            scope.cancel()
        session = self._sessions.pop(path, None)
        if session is not None:
            session.end()
        self._expect_connect()

    def _expect_connect(self) -> None:
        """A connection without any namespace is given up after a while."""
        if self._lonely is None and not self._sessions and not self.closing:
            self._lonely = self.services.timers.after(self.services.config.connect_timeout, self._give_up)

    def _give_up(self) -> None:
        self._lonely = None
        if not self._sessions:
            self.close(Close(4401, "No namespace was connected", come_back=True))

    def disconnect(self, session: Session, why: Close) -> None:
        """End one session; the connection too if it was its last."""
        if why.come_back or len(self._sessions) <= 1:
            self.close(why)
            return
        self.outbox.put(self.wire.message(packet.disconnect(session.namespace)))
        self._sessions.pop(session.namespace, None)
        session.end()

    def end_sessions(self, why: Close | None) -> None:
        """End all of them; with `why`, each is told to stay away."""
        if self._lonely is not None:
            self._lonely.cancel()
            self._lonely = None
        for scope in self._opening.values():
            scope.cancel()
        self._opening.clear()
        for path, session in self._sessions.items():
            if why is not None:
                self.outbox.put(self.wire.message(packet.disconnect(path)))
            session.end()
        self._sessions.clear()

    def rewire(self, wire: SocketIOWire) -> None:
        """The outbox speaks another wire from now on."""
        self.services.sessions.rooms.rewire(self._sessions.values(), wire)
        self.outbox.wire = wire


def _payload(args: list[Any]) -> Any:
    """One argument as itself, none as None, several as Args."""
    if len(args) == 1:
        return args[0]
    return Args(args) if args else None
