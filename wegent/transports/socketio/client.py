"""The Socket.IO 5 side of one client: its namespaces, events and acks."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from wegent.core.closing import Close
from wegent.core.errors import InvalidPayload, Overloaded, WegentError
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
        namespaces: Mapping[str, Namespace],
        *,
        transport: str,
        ended: Callable[[], None],
    ) -> None:
        super().__init__(services, sid, transport=transport, ended=ended)
        self._namespaces = namespaces
        self._decoder = Decoder(services.config.max_payload)
        self._sessions: dict[str, Session | None] = {}
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
        if session is None or session.receive(got.data[0], _payload(got.data[1:]), got.ack_id):
            return True
        self._refused = got
        return False

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
        if path in self._sessions or len(self._sessions) >= NAMESPACES:
            return
        if path not in self._namespaces:
            self._refuse(path, "Invalid namespace", "NOT_FOUND")
            return
        self._sessions[path] = None
        self.start_soon(self._open, path, auth)

    async def _open(self, path: str, auth: Any) -> None:
        sid = f"{self.services.worker}.{secrets.token_urlsafe(18)}"
        try:
            await self.services.sessions.open(self, self._namespaces[path], id=sid, auth=auth, greet=self._greet)
        except WegentError as error:
            self._sessions.pop(path, None)
            if error.retry:
                self.close(Close(error.close_code, error.sentence, come_back=True))
            else:
                self._refuse(path, error.sentence, error.code)

    def _greet(self, session: Session) -> None:
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
        session = self._sessions.pop(path, None)
        if session is not None:
            session.end()
        self._expect_connect()

    def _expect_connect(self) -> None:
        """A connection without any namespace is given up after a while."""
        if self._lonely is None and not any(self._sessions.values()):
            self._lonely = self.services.timers.after(self.services.config.connect_timeout, self._give_up)

    def _give_up(self) -> None:
        self._lonely = None
        if not any(self._sessions.values()):
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
        for path, session in self._sessions.items():
            if session is not None:
                if why is not None:
                    self.outbox.put(self.wire.message(packet.disconnect(path)))
                session.end()
        self._sessions.clear()

    def rewire(self, wire: SocketIOWire) -> None:
        """The outbox speaks another wire from now on."""
        self.services.sessions.rooms.rewire([s for s in self._sessions.values() if s is not None], wire)
        self.outbox.wire = wire


def _payload(args: list[Any]) -> Any:
    """One argument as itself, none as None, several as Args."""
    if len(args) == 1:
        return args[0]
    return Args(args) if args else None
