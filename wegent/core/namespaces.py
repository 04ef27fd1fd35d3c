"""Handlers by event: what an application, or a plugin, says to its clients' events."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from attrs import frozen

from wegent.core.errors import ConfigError
from wegent.core.model import Principal

if TYPE_CHECKING:
    from wegent.core.sessions import Session

Convert = Callable[[Any, Any], Any]
"""`convert(data, type)`: JSON data as the payload's type; raises `InvalidPayload`."""
Authenticate = Callable[[Any], Awaitable[Principal]]
"""`await authenticate(auth)`: who connects, by what came with the connection; raises `WegentError` to refuse."""
Lane = Callable[[Any], Any]
"""The lane an event belongs to, by its payload: events of one lane are handled in order."""


class Ack:
    """The answer to one event. A handler that must answer at a certain point calls it; else its result is sent."""

    __slots__ = ("_id", "_session", "sent")

    def __init__(self, session: Session | None, ack_id: Any = None) -> None:
        """Without `ack_id` the client wants no answer; without session it is nobody's."""
        self._session = session
        self._id = ack_id
        self.sent = False

    def __call__(self, payload: Any) -> None:
        """Queue the answer; only the first counts. Plain: it stands in order with what is emitted around it."""
        if not self.sent:
            if self._session is not None and self._id is not None:
                self._session.send_ack(self._id, payload)
            self.sent = True  # not before: what cannot be spelled has not been sent


@frozen
class Handler:
    """One event's handler. `plain`: called by the reading task itself; `lane` None with `urgent`: runs beside all.

    `parameters` is how many of session, payload and ack it takes; `event` is its name.
    """

    call: Callable[..., Any]
    payload: Any
    lane: Lane | None
    urgent: bool
    plain: bool
    parameters: int
    event: str = ""


class Namespaces(ABC):
    """The port through which plugins bring namespaces: `namespaces()` by path."""

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    def namespaces(self) -> Mapping[str, Namespace]:
        """Every namespace that it brings."""


async def _anybody(_: Any) -> Principal:
    return Principal(user_id=0, user_name="", scope="any")


class Namespace:
    """A set of handlers that sessions are opened in.

        chat = Namespace("/chat", convert=convert, authenticate=auth)

        @chat.on("chat:send", lane=lambda payload: payload.task_id)
        async def send(session: Session, payload: ChatSend, ack: Ack) -> SendAck: ...

    The payload's type is that of the second parameter; without annotation it comes as it is. Payload and ack may be
    left out. A handler that is a plain `def` runs at once and must not take long. What it returns is the ack; a
    `WegentError` is an ack with its sentence and code, any other exception one that says INTERNAL.
    """

    def __init__(
        self,
        path: str,
        *,
        convert: Convert | None = None,
        authenticate: Authenticate = _anybody,
        loose: bool = False,
    ) -> None:
        """`loose`: what comes in may hold halves of surrogate pairs, which the handlers then deal with."""
        self.path = path
        self.loose = loose
        self.authenticate = authenticate
        self.convert: Convert = convert or (lambda data, _: data)
        self.handlers: dict[str, Handler] = {}
        self.on_connected: Callable[[Session], None] | None = None
        self.on_disconnected: Callable[[Session], None] | None = None

    def on(self, event: str, *, lane: Lane | None = None, urgent: bool = False) -> Callable[[Callable[..., Any]], Any]:
        """Handle `event`. Without `lane`, all such events of a connection are one lane; `urgent` ones wait for none."""

        def register(call: Callable[..., Any]) -> Callable[..., Any]:
            if event in self.handlers:
                message = f"{self.path} has two handlers for {event}"
                raise ConfigError(message)
            parameters = list(inspect.signature(call).parameters.values())
            hints = get_type_hints(call) if len(parameters) > 1 else {}
            self.handlers[event] = Handler(
                call=call,
                payload=hints.get(parameters[1].name, Any) if len(parameters) > 1 else Any,
                lane=lane,
                urgent=urgent,
                plain=not inspect.iscoroutinefunction(call),
                parameters=len(parameters),
                event=event,
            )
            return call

        return register

    def connected(self, call: Callable[[Session], None]) -> Callable[[Session], None]:
        """Call a plain function with every new session, before its first event."""
        self.on_connected = call
        return call

    def disconnected(self, call: Callable[[Session], None]) -> Callable[[Session], None]:
        """Call a plain function with every session that ends, while it is still in its rooms."""
        self.on_disconnected = call
        return call
