"""One client in one namespace: who it is, what it asks, what it is asked."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from wegent.core.closing import EXPIRED, Close
from wegent.core.errors import Conflict, NotFound, Overloaded, ShuttingDown, WegentError
from wegent.core.namespaces import Ack, Handler, Namespace

if TYPE_CHECKING:
    from wegent.core.clock import Clock
    from wegent.core.instruments import Registry
    from wegent.core.model import Principal
    from wegent.core.outbox import Outbox
    from wegent.core.ports.tracing import Span, Tracer
    from wegent.core.rooms import Room, Rooms
    from wegent.core.timers import Timer, Timers

log = logging.getLogger(__name__)
_UNEXPECTED = {"error": "Something went wrong in the server; it has been logged", "code": "INTERNAL"}


@frozen
class SessionLimits:
    """Per session: lanes at work, events waiting, urgent events at work, acks awaited; seconds of patience."""

    lanes: int = 16
    waiting: int = 64
    urgent: int = 16
    calls: int = 64
    patience: float = 5.0


class Connection(ABC):
    """A transport's side of one connection, which may carry sessions of several namespaces."""

    outbox: Outbox
    transport: str

    @abstractmethod
    def close(self, why: Close) -> None:
        """Send what waits, tell the client why, and end; at once and plain. Later calls do nothing."""

    @abstractmethod
    def disconnect(self, session: Session, why: Close) -> None:
        """End one session; the connection too if it was its last one."""

    @abstractmethod
    def start_soon(self, call: Callable[..., Awaitable[Any]], *args: Any) -> None:
        """Run a task that lives no longer than the connection."""


class Session:
    """One client in one namespace of one connection."""

    def __init__(
        self,
        sessions: Sessions,
        id: str,
        namespace: Namespace,
        connection: Connection,
        principal: Principal,
    ) -> None:
        self.id = id
        self.namespace = namespace.path
        self.connection = connection
        self.outbox = connection.outbox
        self.principal = principal
        self.rooms: dict[str, Room] = {}
        self.open = True
        self._sessions = sessions
        self._handlers = namespace.handlers
        self._convert = namespace.convert
        self._lanes: dict[Hashable, deque[_Event]] = {}
        self._waiting = 0
        self._urgent = 0
        self._freed: trio.Event | None = None
        self._impatient = False
        self._calls: dict[int, _Call] = {}
        self._deadline: Timer | None = None

    # to the client

    def emit(self, event: str, payload: Any) -> None:
        """Queue an event for this client alone."""
        if self.open:
            self.outbox.put(self.outbox.wire.event(self.namespace, event, payload))

    async def call(self, event: str, payload: Any, *, timeout: float = 10.0) -> Any:
        """Emit an event and wait for the client's ack.

        Raises:
            trio.TooSlowError: no ack within `timeout` seconds.
            Conflict: the session ended before it came.
            Overloaded: too many acks are awaited already.
        """
        if not self.open:
            message = "the client has left"
            raise Conflict(message)
        if len(self._calls) >= self._sessions.limits.calls:
            message = "too many acks of this client are awaited already"
            raise Overloaded(message)
        ack_id = next(self._sessions.call_ids)
        call = self._calls[ack_id] = _Call()
        self.outbox.put(self.outbox.wire.event(self.namespace, event, payload, ack_id))
        try:
            with trio.fail_after(timeout):
                await call.answered.wait()
        finally:
            del self._calls[ack_id]
        if call.gone:
            message = "the client left before it answered"
            raise Conflict(message)
        return call.answer

    def disconnect(self, why: Close) -> None:
        """End this session."""
        if self.open:
            self.connection.disconnect(self, why)

    def expire_at(self, deadline: float | None) -> None:
        """When the token ends, in wall time; moves the deadline that was set before. None: never."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if deadline is not None:
            left = deadline - self._sessions.clock.time()
            self._deadline = self._sessions.timers.after(max(0.0, left), self._expired)

    def _expired(self) -> None:
        if self.open:
            self.emit("auth:error", {"error": "Token expired", "code": "TOKEN_EXPIRED"})
            self.disconnect(EXPIRED)

    # from the client; plain, called by the connection's reading task

    def receive_ack(self, ack_id: int, answer: Any) -> None:
        """The client answered a `call`; an id that nobody waits for is ignored."""
        call = self._calls.get(ack_id)
        if call is not None:
            call.answer = answer
            call.answered.set()

    def receive(self, event: str, data: Any, ack_id: Any = None) -> bool:
        """Handle an event, or give it to its lane. False: there is no room for it now, see `room_for_more`."""
        ack = Ack(self, ack_id)
        self._sessions.events_in.value += 1
        try:
            handler = self._handlers.get(event)
            if handler is None:
                raise NotFound(f"there is no event {event[:100]!r} in {self.namespace}")
            if self._sessions.draining and not handler.urgent:
                raise ShuttingDown("the server is shutting down; connect again in a moment")
            payload = data if handler.payload is Any else self._convert(data, handler.payload)
        except WegentError as error:
            ack(error.as_payload())
            return True
        if handler.plain:
            self._handle_plain(handler, payload, ack)
            return True
        return self._queue(_Event(handler, payload, ack))

    def refuse(self, ack_id: Any, error: WegentError) -> None:
        """Answer an event with an error, without handling it."""
        if ack_id is not None:
            self.send_ack(ack_id, error.as_payload())

    async def room_for_more(self) -> bool:
        """Wait until an event can be taken again, for as long as patience allows; whether it can.

        Patience that has run out comes back with the next event that is done, so that acks and pings are not kept
        waiting once for each event.
        """
        with trio.move_on_after(0.0 if self._impatient else self._sessions.limits.patience):
            while self.open and self._full():
                self._freed = trio.Event()
                await self._freed.wait()
        self._impatient = self._full()
        return not self._impatient

    def _full(self) -> bool:
        limits = self._sessions.limits
        return self._waiting >= limits.waiting or len(self._lanes) >= limits.lanes or self._urgent >= limits.urgent

    def _queue(self, item: _Event) -> bool:
        handler, limits = item.handler, self._sessions.limits
        if handler.urgent:
            if self._urgent >= limits.urgent:
                return False
            self._urgent += 1
            self.connection.start_soon(self._run_urgent, item)
            return True
        key = None if handler.lane is None else handler.lane(item.payload)
        lane = self._lanes.get(key)
        if self._waiting >= limits.waiting or (lane is None and len(self._lanes) >= limits.lanes):
            return False
        self._waiting += 1
        if lane is not None:
            lane.append(item)
        else:
            self._lanes[key] = deque((item,))
            self.connection.start_soon(self._run_lane, key)
        return True

    async def _run_lane(self, key: Hashable) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                item = lane.popleft()
                self._waiting -= 1
                self._free()
                await self._handle(item)
        finally:
            del self._lanes[key]
            if not self._lanes:
                self._lanes.clear()  # an empty dict keeps the room that it needed
            self._waiting -= len(lane)
            self._free()

    async def _run_urgent(self, item: _Event) -> None:
        try:
            await self._handle(item)
        finally:
            self._urgent -= 1
            self._free()

    def _free(self) -> None:
        self._impatient = False
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def _handle(self, item: _Event) -> None:
        if not self.open:
            return
        started = trio.current_time()
        try:
            arguments = (self, item.payload, item.ack)[: item.handler.parameters]
            if self._sessions.tracer is None:
                item.ack(await item.handler.call(*arguments))
            else:
                with self._span(self._sessions.tracer, item.handler, item.payload):
                    item.ack(await item.handler.call(*arguments))
        except WegentError as error:
            item.ack(error.as_payload())
        except Exception:
            log.exception("a handler of %s failed", self.namespace)
            item.ack(_UNEXPECTED)
        self._sessions.latency.observe(trio.current_time() - started)

    def _handle_plain(self, handler: Handler, payload: Any, ack: Ack) -> None:
        try:
            if self._sessions.tracer is None:
                ack(handler.call(*(self, payload, ack)[: handler.parameters]))
            else:
                with self._span(self._sessions.tracer, handler, payload):
                    ack(handler.call(*(self, payload, ack)[: handler.parameters]))
        except WegentError as error:
            ack(error.as_payload())
        except Exception:
            log.exception("a handler of %s failed", self.namespace)
            ack(_UNEXPECTED)

    def _span(self, tracer: Tracer, handler: Handler, payload: Any) -> AbstractContextManager[Span]:
        attributes: dict[str, Any] = {"event_type": handler.event, "user_id": self.principal.user_id}
        task_id = getattr(payload, "task_id", None)
        if isinstance(task_id, int):
            attributes["task_id"] = task_id
        return tracer.span("ws.event", attributes)

    def send_ack(self, ack_id: Any, payload: Any) -> None:
        """Queue the answer to one of the client's events."""
        if self.open:
            self.outbox.put(self.outbox.wire.ack(self.namespace, ack_id, {} if payload is None else payload))

    def end(self) -> None:
        """The transport's last word: the client is gone, or will be. Cancelling its lanes is the connection's."""
        if not self.open:
            return
        self._sessions._end(self)
        self.open = False
        self._free()
        self.expire_at(None)
        for call in self._calls.values():
            call.gone = True
            call.answered.set()


class _Event:
    __slots__ = ("ack", "handler", "payload")

    def __init__(self, handler: Handler, payload: Any, ack: Ack) -> None:
        self.handler = handler
        self.payload = payload
        self.ack = ack


class _Call:
    __slots__ = ("answer", "answered", "gone")

    def __init__(self) -> None:
        self.answer: Any = None
        self.answered = trio.Event()
        self.gone = False


class Sessions:
    """All sessions of this worker."""

    def __init__(
        self,
        rooms: Rooms,
        timers: Timers,
        clock: Clock,
        registry: Registry,
        limits: SessionLimits | None = None,
    ) -> None:
        self.rooms = rooms
        self.timers = timers
        self.clock = clock
        self.limits = limits or SessionLimits()
        self.call_ids = count(1)
        self.draining = False
        self.tracer: Tracer | None = None
        self.events_in = registry.counter("wegent_events_in", "Events from clients")
        self.latency = registry.histogram("wegent_event_seconds", "From an event's turn to its ack")
        self._registry = registry
        registry.gauge("wegent_outbox_bytes", "Bytes that wait for connections", self._waiting_bytes)
        self._all: dict[str, tuple[Session, Namespace]] = {}
        self._of_user: dict[int, set[Session]] = {}
        self._counted: dict[tuple[str, str], int] = {}

    async def open(
        self, connection: Connection, namespace: Namespace, *, id: str, auth: Any, greet: Callable[[Session], None]
    ) -> Session:
        """Authenticate and make a session. `greet` tells the client, then `namespace.on_connected` is called.

        Raises:
            WegentError: refused; its sentence is for the client.
        """
        if self.draining:
            message = "Server is shutting down"
            raise ShuttingDown(message)
        principal = await namespace.authenticate(auth)
        await trio.lowlevel.checkpoint_if_cancelled()  # a session that nobody will end must not begin
        session = Session(self, id, namespace, connection, principal)
        self._all[id] = (session, namespace)
        self._of_user.setdefault(principal.user_id, set()).add(session)
        self._count(session, 1)
        session.expire_at(principal.expires_at)
        greet(session)
        if namespace.on_connected is not None:
            namespace.on_connected(session)
        return session

    def get(self, id: str) -> Session | None:
        """The session of that id on this worker."""
        found = self._all.get(id)
        return None if found is None else found[0]

    def all(self) -> list[Session]:
        """Every session on this worker."""
        return [session for session, _ in self._all.values()]

    def of_user(self, user_id: int) -> list[Session]:
        """A user's sessions on this worker, in all namespaces."""
        return list(self._of_user.get(user_id, ()))

    def __len__(self) -> int:
        return len(self._all)

    def connections(self) -> set[Connection]:
        """Connections that hold at least one session."""
        return {session.connection for session, _ in self._all.values()}

    def _end(self, session: Session) -> None:
        _, namespace = self._all.pop(session.id)
        try:
            if namespace.on_disconnected is not None:
                namespace.on_disconnected(session)
        except Exception:
            log.exception("the disconnect hook of %s failed", session.namespace)
        self.rooms.leave_all(session)
        users = self._of_user[session.principal.user_id]
        users.discard(session)
        if not users:
            del self._of_user[session.principal.user_id]
        self._count(session, -1)

    def _waiting_bytes(self) -> float:
        return sum(connection.outbox.size for connection in self.connections())

    def _count(self, session: Session, n: int) -> None:
        key = (session.connection.transport, session.namespace)
        if key not in self._counted:
            self._registry.gauge(
                "wegent_connections",
                "Sessions by transport and namespace",
                lambda: self._counted[key],
                transport=key[0],
                namespace=key[1],
            )
        self._counted[key] = self._counted.get(key, 0) + n
