"""One connection to the raw WebSocket transport (protocol §2): from the handshake to the close."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import trio
from attrs import define, field, frozen
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from wegent import codec
from wegent.client.errors import DO_NOT_COME_BACK, ConnectionLost, Stranger, from_close, from_payload
from wegent.client.reach import why
from wegent.core.errors import InvalidPayload, WegentError
from wegent.protocol.limits import MAX_PAYLOAD

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of a server's message; its frames are of 512 KiB at most."""
WAITING = 64
"""Messages that wait to be written."""
OWED = 1_024
"""Acks that wait besides; a server that lets more wait does not read."""
CONNECT_S = 20.0
TLS_S = 8.0
"""Seconds for agreeing on TLS: who does not speak it may just wait for more."""
CLOSE_S = 2.0
PONG_S = 20.0

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
OnEvent = Callable[[str, Any, bool], "Answer"]
"""Name, data, whether an ack is wanted."""
Answer = Mapping[str, Any] | None
"""The data of an ack; None for one that is not to be given."""
OnAck = Callable[[Mapping[str, Any]], None]


def socket_url(server: str, namespace: str) -> str:
    """The raw transport's address of a server such as `http://host:8000/base`.

    Raises:
        InvalidPayload: this is no address of a server.
    """
    parts = urlsplit(server if "://" in server else f"http://{server}")
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    try:
        named = parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        named = None
    if scheme is None or not named:
        message = f"{server!r} is no address of a server; it is like http://localhost:8000"
        raise InvalidPayload(message)
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws{namespace}", "", ""))


@frozen
class Ended:
    """How a connection ended. `error` set: for good; else one may come back. `cut`: by us, without a goodbye. Not
    `reached`: it never came to a connection.
    """

    reason: str
    error: WegentError | None = None
    cut: bool = False
    reached: bool = True


@define
class Pending:
    """An event that waits for its ack; `applied` is called with it as it is read, before anything that follows."""

    applied: OnAck | None
    done: trio.Event = field(factory=trio.Event)
    answer: Mapping[str, Any] | None = None


class Link:
    """A connection that is ready. Made by `run_link`."""

    def __init__(self, socket: WebSocketConnection, on_event: OnEvent) -> None:
        self._socket = socket
        self._on_event = on_event
        self._pending: dict[int, Pending] = {}
        self._last_id = 0
        self._owed: deque[str] = deque()
        self._cut = trio.CancelScope()
        self._out, self._waiting = trio.open_memory_channel[str](WAITING)

    async def send(self, event: str, data: Any) -> None:
        """Send an event that needs no ack; returns when it waits to be written."""
        await self._put({"event": event, "data": data})

    async def ask(self, event: str, data: Any, applied: OnAck | None = None) -> Mapping[str, Any]:
        """Send an event and wait for its ack.

        Raises:
            ConnectionLost: the connection ended first.
            WegentError: the server refused.
        """
        self._last_id += 1
        ack_id = self._last_id
        pending = self._pending[ack_id] = Pending(applied)
        try:
            await self._put({"event": event, "data": data, "id": ack_id})
            await pending.done.wait()
        finally:
            self._pending.pop(ack_id, None)
        if pending.answer is None:
            message = f"the connection was lost before {event} was answered"
            raise ConnectionLost(message)
        if "error" in pending.answer and "code" in pending.answer:
            raise from_payload(pending.answer)
        return pending.answer

    async def _put(self, message: Mapping[str, Any]) -> None:
        try:
            encoded = codec.encode(message)
        except codec.CodecError as error:
            raise InvalidPayload(error.sentence) from error
        if len(encoded) > MAX_PAYLOAD:
            sentence = f"an event has at most {MAX_PAYLOAD:,} bytes, this one {len(encoded):,}"
            raise InvalidPayload(sentence)
        try:
            await self._out.send(encoded.decode())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            sentence = "the connection was lost"
            raise ConnectionLost(sentence) from None

    async def run(self, ping_interval: float) -> Ended:
        """Read and write until the connection ends."""
        ended = Ended("the connection was given up", cut=True)
        with self._cut:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch, ping_interval)
                ended = await self._read()
                nursery.cancel_scope.cancel()
        return ended

    def cut(self) -> None:
        """Give the connection up, as if the network had: it is known to be bad, or a test wants to see what happens."""
        self._cut.cancel()

    def finish(self) -> None:
        """Nothing is answered any more."""
        self._out.close()
        self._waiting.close()
        for pending in self._pending.values():
            pending.done.set()

    async def _read(self) -> Ended:
        while True:
            try:
                message = await self._socket.get_message()
            except ConnectionClosed as closed:
                return _ended(closed)
            try:
                self._take(codec.decode(message))
            except codec.CodecError as error:
                return Ended(f"the server sent what is no JSON: {error.sentence}")

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        if isinstance(event := message.get("event"), str):
            asked = message.get("id")
            answer = self._on_event(event, message.get("data"), asked is not None)
            if asked is not None and answer is not None:
                self._reply({"ack": asked, "data": answer})
        elif (pending := self._pending.get(message.get("ack", 0))) is not None:
            data = message.get("data")
            pending.answer = data if isinstance(data, Mapping) else {}
            if pending.applied is not None and not ("error" in pending.answer and "code" in pending.answer):
                pending.applied(pending.answer)
            pending.done.set()

    def _reply(self, message: Mapping[str, Any]) -> None:
        """Without waiting: where there is no room, the task that writes is at work, and looks here when it goes on."""
        encoded = codec.encode(message).decode()
        try:
            self._out.send_nowait(encoded)
        except trio.WouldBlock:
            self._owed.append(encoded)
            if len(self._owed) > OWED:
                self.cut()

    async def _write(self) -> None:
        """The one task that writes: whoever stops waiting for an ack cuts no message in two."""
        async for message in self._waiting:
            try:
                await self._socket.send_message(message)
                while self._owed:
                    await self._socket.send_message(self._owed.popleft())
            except ConnectionClosed:
                return

    async def _watch(self, interval: float) -> None:
        """End a connection whose other side is gone without a word."""
        while True:
            await trio.sleep(interval)
            with trio.move_on_after(PONG_S) as limit:
                try:
                    await self._socket.ping()
                except ConnectionClosed:
                    return
            if limit.cancelled_caught:
                self.cut()


class Life(ABC):
    """Is told of a connection as it goes: plain calls, in this order, `ready` and `lost` at most once each."""

    __slots__ = ()

    @abstractmethod
    def ready(self, link: Link, sid: str) -> None:
        """The server has accepted; events may be sent."""

    @abstractmethod
    def event(self, name: str, data: Any, asked: bool) -> Answer:
        """An event came; what is returned is its ack, where one was asked for."""

    @abstractmethod
    def lost(self) -> None:
        """Nothing can be sent any more, and nothing more will come."""


async def run_link(url: str, token: str, life: Life) -> Ended:
    """Connect, authenticate, and live until the connection ends."""
    try:
        with trio.fail_after(CONNECT_S):
            stream = await _open_stream(url)
    except (OSError, trio.BrokenResourceError) as error:
        return _unreached(url, f"can't be reached: {why(error)}")
    except trio.TooSlowError:
        return _unreached(url, "does not answer")
    # The stream is ours to close: the library leaves it to the collector where the server closed first.
    async with stream:
        try:
            async with trio.open_nursery() as nursery:
                ended = await _converse(nursery, stream, url, token, life)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:  # raised by the library's task, not to who waits for the handshake
            rejected, others = group.split(ConnectionRejected)
            if rejected is None or others is not None:
                raise
            return _rejected(_first(rejected), url)
    return ended


async def _open_stream(url: str) -> Stream:
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    stream = await trio.open_tcp_stream(host, port)
    if not secure:
        return stream
    wrapped = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        with trio.fail_after(TLS_S):
            await wrapped.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return wrapped


async def _converse(nursery: trio.Nursery, stream: Stream, url: str, token: str, life: Life) -> Ended:
    try:
        socket = None
        with trio.move_on_after(CONNECT_S) as limit:
            socket = await _shake_hands(nursery, stream, url, token)
        if socket is None:
            return _unreached(url, "does not answer" if limit.cancelled_caught else "closed the connection")
        ended = await _live(socket, life)
        if not ended.cut:
            with trio.move_on_after(CLOSE_S):
                await socket.aclose()
    except ConnectionRejected as error:
        return _rejected(error, url)
    except (HandshakeError, trio.BrokenResourceError) as error:
        return _unreached(url, f"can't be reached: {why(error)}")
    except ConnectionClosed as closed:
        return _ended(closed)
    return ended


class _Watched(trio.abc.Stream):
    """A stream that calls `at_end` when nothing more will come: the library does not notice that in a handshake."""

    def __init__(self, stream: Stream, at_end: Callable[[], None]) -> None:
        self._stream = stream
        self.at_end = at_end

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            if not data:
                self.at_end()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _shake_hands(nursery: trio.Nursery, stream: Stream, url: str, token: str) -> WebSocketConnection | None:
    """The connection, or None if the other side closed first."""
    parts = urlsplit(url)
    with trio.CancelScope() as scope:
        watched = _Watched(stream, scope.cancel)
        socket = await wrap_client_stream(
            nursery,
            cast("Stream", watched),
            parts.netloc.rpartition("@")[2],
            parts.path,
            extra_headers=[(b"Authorization", f"Bearer {token}".encode())],
            max_message_size=MAX_MESSAGE,
            message_queue_size=16,
            receive_buffer_size=64 * 1024,
        )
        watched.at_end = _nothing
        return socket
    return None


def _nothing() -> None:
    """The end of a stream after its handshake is told by the library."""


async def _live(socket: WebSocketConnection, life: Life) -> Ended:
    first: Any = None
    with trio.move_on_after(CONNECT_S) as limit, suppress(codec.CodecError):
        first = codec.decode(await socket.get_message())
    if limit.cancelled_caught:
        return Ended("the server did not say that it is ready")
    if isinstance(first, dict) and "error" in first:
        error = from_payload(first)
        return Ended(error.sentence, None if error.retry else error)
    ready = first.get("ready") if isinstance(first, dict) else None
    if not isinstance(ready, dict):
        sentence = "what answers there is no Wegent server"
        return Ended(sentence, Stranger(sentence))
    link = Link(socket, life.event)
    try:
        life.ready(link, str(ready.get("sid")))
        interval = ready.get("ping_interval")
        return await link.run(float(interval) if isinstance(interval, int | float) and interval > 0 else 25.0)
    finally:
        link.finish()
        life.lost()


def _ended(closed: ConnectionClosed) -> Ended:
    if closed.reason is None:
        return Ended("the connection was lost")
    code, reason = closed.reason.code, closed.reason.reason or ""
    if code in DO_NOT_COME_BACK:
        return Ended(reason, from_close(code, reason))
    return Ended(reason or f"the server closed the connection ({code})")


def _rejected(error: BaseException, url: str) -> Ended:
    status = error.status_code if isinstance(error, ConnectionRejected) else 0
    if status >= 500 or status == 429:
        return Ended(f"the server answered {status}")
    parts = urlsplit(url)
    where = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    sentence = f"no Wegent server is at {where} (it answered {status}); is the address right, and its path?"
    return Ended(sentence, Stranger(sentence))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unreached(url: str, how: str) -> Ended:
    return Ended(f"{urlsplit(url).netloc.rpartition('@')[2]} {how}", reached=False)
