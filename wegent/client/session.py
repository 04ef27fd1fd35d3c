"""A session with a server that outlives its connections."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any

import trio
from attrs import frozen

from wegent import codec
from wegent.client.errors import ConnectionLost, Stranger, Timeout, Unreachable
from wegent.client.link import Answer, Life, Link, OnAck, run_link, socket_url
from wegent.client.reach import mismatch
from wegent.core.errors import NotAuthenticated, Overloaded, WegentError
from wegent.protocol.events import AUTH_REFRESH, CHAT, event

STEADY_S = 10.0
"""Seconds after which a connection counts as a good one, and waiting starts small again."""


@frozen
class Backoff:
    """Seconds to wait before the next attempt: doubled at each failure up to `most`, and spread by chance.

    `patience`: attempts that may fail in a row before the session gives up; None: it never does.
    """

    first: float = 0.25
    most: float = 15.0
    patience: int | None = None

    def wait(self, failures: int) -> float:
        """How long after so many failures; half of it at least, so that many clients don't come at once."""
        longest = min(self.most, self.first * 2.0 ** min(failures, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secrecy


class Listener(ABC):
    """Is told what comes over a session's connections, in the order in which it came. Plain calls, no awaiting."""

    __slots__ = ()

    def ready(self) -> None:  # noqa: B027 - not everybody cares
        """A connection is there."""

    def lost(self) -> None:  # noqa: B027
        """It is gone; another will come, or the session ends."""

    def waiting(self, reason: str) -> None:  # noqa: B027
        """There is none, for this reason, and it will be tried again."""

    def over(self) -> None:  # noqa: B027
        """The session has ended: nothing more will come."""

    @abstractmethod
    def event(self, name: str, data: Any) -> None:
        """An event came that asks for no ack, or for one that no listener had."""

    def asked(self, name: str, data: Any) -> Answer | Unknown:
        """An event came that asks for an ack: its data, None where none is to be given, UNKNOWN by default."""
        del name, data
        return UNKNOWN


class Unknown(Enum):
    """Says that a listener does not answer an event."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


@frozen
class Received:
    """An event of a subscription; `data` as decoded from JSON."""

    name: str
    data: Any
    namespace: str = CHAT

    @property
    def payload(self) -> Any:
        """The typed payload of `wegent.protocol`.

        Raises:
            CodecError: the server's payload isn't one.
        """
        return codec.convert(self.data, event(self.namespace, self.name, from_client=False).payload)


class Session:
    """Emits events and hears them, over whatever connection there is. Made by `open_session`.

    `link` is the connection there is now. `state` is connecting, ready, waiting (for the next attempt) or closed;
    `trouble` says why the last one ended.
    """

    def __init__(self, server: str, token: str, *, namespace: str = CHAT, backoff: Backoff | None = None) -> None:
        self.url = socket_url(server, namespace)
        self.namespace = namespace
        self.token = token
        self.sid: str | None = None
        self.state = "connecting"
        self.trouble: str | None = None
        self.link: Link | None = None
        self._backoff = backoff or Backoff()
        self._changed = trio.Event()
        self._over: WegentError | None = None
        self._listeners: list[Listener] = []
        self._life = _Life(self)

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection now."""
        return self.link is not None

    async def emit(
        self, name: str, data: Any, *, applied: OnAck | None = None, timeout: float = 30.0
    ) -> Mapping[str, Any]:
        """Send an event, waiting for a connection if there is none, and return its ack.

        `applied` is called with the ack at its place in the order of frames, before this returns. An event whose
        connection is lost before the ack is not sent again: that is the caller's to decide.

        Raises:
            Timeout: no connection, or no ack, within `timeout` seconds.
            ConnectionLost: the connection ended before the ack.
            WegentError: the server refused, or the session has ended.
        """
        with trio.move_on_after(timeout):
            link = await self._ready_link()
            return await link.ask(name, data, applied)
        message = f"no answer to {name} within {timeout:g} s" + (f" ({self.trouble})" if self.trouble else "")
        raise Timeout(message)

    async def refresh(self, token: str) -> Mapping[str, Any]:
        """Go on with another token of the same user, on this connection and on those to come."""
        ack = await self.emit(AUTH_REFRESH, {"token": token})
        self.token = token
        return ack

    async def wait_ready(self) -> None:
        """Wait for a connection.

        Raises:
            WegentError: the session has ended.
        """
        await self._ready_link()

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Tell a listener everything, within the context; if there is a connection, beginning with that."""
        self._listeners.append(listener)
        if self.is_ready:
            listener.ready()
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def subscribe(self, *names: str, limit: int = 1000) -> Iterator[Subscription]:
        """The events of these names (of all, without any), to be iterated over within the context.

        A reader that lets more than `limit` wait gets `Overloaded` from there on: events are not dropped silently, and
        one slow reader delays nobody else. The iteration ends with the session.
        """
        subscription = Subscription(frozenset(names), limit, self.namespace)
        with self.listening(subscription):
            yield subscription

    async def _ready_link(self) -> Link:
        while self.link is None:
            if self._over is not None:
                raise self._over
            await self._changed.wait()
        return self.link

    def become(self, state: str, link: Link | None = None) -> None:
        """Take up another state, and wake who waits for one."""
        self.state, self.link = state, link
        self._changed.set()
        self._changed = trio.Event()

    def listeners(self) -> list[Listener]:
        """Who is told, as of now."""
        return list(self._listeners)

    async def run(self, renew: Renew | None, first_patience: int) -> None:
        """Connect again and again, until the server says not to come back or patience ends.

        Raises:
            WegentError: what ended the session.
        """
        failures, may_renew = 0, True
        while True:
            self.state = "connecting"
            since = trio.current_time()
            ended = await run_link(self.url, self.token, self._life)
            steady = trio.current_time() - since > STEADY_S
            self.state, self.trouble = "waiting", ended.reason
            may_renew = may_renew or steady
            if isinstance(ended.error, NotAuthenticated) and renew is not None and may_renew:
                may_renew = False
                self.token = await renew(ended.error)
                continue
            if ended.error is not None:
                raise ended.error
            # Only of an address that has never worked: a server that is away must not be taken for one that is wrong.
            if self.sid is None and not ended.reached and (wrong := await mismatch(self.url)) is not None:
                raise Stranger(wrong)
            failures = 0 if steady else failures + 1
            patience = first_patience if self.sid is None else self._backoff.patience
            if patience is not None and failures > patience:
                raise Unreachable(ended.reason)
            for listener in self.listeners():
                listener.waiting(ended.reason)
            await trio.sleep(self._backoff.wait(max(failures - 1, 0)))

    def close(self, error: WegentError) -> None:
        """Let everybody who waits for a connection see why there will be none."""
        self._over = self._over or error
        self.become("closed")
        for listener in self.listeners():
            listener.over()


class _Life(Life):
    """A session's connections, told to its listeners."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def ready(self, link: Link, sid: str) -> None:
        self._session.sid, self._session.trouble = sid, None
        self._session.become("ready", link)
        for listener in self._session.listeners():
            listener.ready()

    def event(self, name: str, data: Any, asked: bool) -> Answer:
        if asked:
            for listener in self._session.listeners():
                if (answer := listener.asked(name, data)) is not UNKNOWN:
                    return answer
        for listener in self._session.listeners():
            listener.event(name, data)
        # Nothing that the server could ask of this client is known here: say so instead of letting it wait.
        return {"error": f"this client does not answer {name}", "code": "NOT_FOUND"}

    def lost(self) -> None:
        self._session.become("waiting")
        for listener in self._session.listeners():
            listener.lost()


Renew = Callable[[WegentError], Awaitable[str]]
"""Asked for another token when one is refused; raises if there is none."""


@asynccontextmanager
async def open_session(
    server: str,
    token: str,
    *,
    namespace: str = CHAT,
    backoff: Backoff | None = None,
    renew: Renew | None = None,
    first_patience: int = 0,
) -> AsyncIterator[Session]:
    """Connect to a server and stay connected within the context.

    Args:
        server: its address, like `http://localhost:8000`.
        token: a token of scope `user`, or for `/local-executor` of scope `device`.
        namespace: `/chat` or `/local-executor`.
        backoff: how to wait between attempts.
        renew: gives another token when this one is no longer good.
        first_patience: attempts that may fail before there was ever a connection.

    Raises:
        InvalidPayload: `server` is no address.
        Unreachable: there was no connection within the first attempts.
        WegentError: the server refused, at first or later; then the context is cancelled, and this is raised from it.
    """
    session = Session(server, token, namespace=namespace, backoff=backoff)
    failure: list[WegentError] = []

    async def live(nursery: trio.Nursery) -> None:
        try:
            await session.run(renew, first_patience)
        except WegentError as error:
            failure.append(error)
            session.close(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, nursery)
            await session.wait_ready()
            yield session
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            # The context's own error, as it was raised: that there is a nursery here is nobody's concern.
            raise group.exceptions[0] from None
        raise
    finally:
        session.close(ConnectionLost("the session was closed"))
    if failure:
        raise failure[0]


class Subscription(Listener):
    """Events that wait to be read, at most `limit`."""

    __slots__ = ("_lagged", "_names", "_namespace", "_read", "_write")

    def __init__(self, names: frozenset[str], limit: int, namespace: str) -> None:
        self._names = names
        self._namespace = namespace
        self._lagged = False
        self._write, self._read = trio.open_memory_channel[Received](limit)

    def event(self, name: str, data: Any) -> None:
        """Keep it, if it is one of ours and there is room; else there will be no more."""
        if self._lagged or (self._names and name not in self._names):
            return
        try:
            self._write.send_nowait(Received(name, data, self._namespace))
        except trio.WouldBlock:
            self._lagged = True
            self._write.close()

    def over(self) -> None:
        """No more will come."""
        self._write.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Received:
        """The next event.

        Raises:
            Overloaded: too many waited; those that come after the last one read are lost.
        """
        try:
            return await self._read.receive()
        except trio.EndOfChannel:
            if self._lagged:
                message = "events came faster than they were read"
                raise Overloaded(message) from None
            raise StopAsyncIteration from None
