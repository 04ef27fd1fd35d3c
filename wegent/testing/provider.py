"""A model's server that follows a script, byte by byte: for tests of what talks to one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(payload: Any) -> bytes:
    """One server-sent event with a JSON payload, as one HTTP chunk."""
    return chunk(b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n")


def delta(content: str | None = None, **more: Any) -> bytes:
    """A chat completion chunk that adds to the answer."""
    fields = {**({} if content is None else {"content": content}), **more}
    return event({"model": "scripted", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


def finish(reason: str | None = "stop", usage: dict[str, Any] | None = None) -> bytes:
    """The last chunks of a whole answer, up to the end of the reply."""
    last = {"model": "scripted", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    told = event({"choices": [], "usage": usage}) if usage is not None else b""
    return event(last) + told + chunk(b"data: [DONE]\n\n") + LAST_CHUNK


def answer(status: str, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """A reply with a plain body, such as a refusal."""
    head = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@define(slots=False)
class Call:
    """A request that came in. `closed` is set when the client has closed its connection."""

    head: str
    body: Any
    stream: trio.SocketStream
    closed: trio.Event = field(factory=trio.Event)

    async def send(self, data: bytes, *, piece: int | None = None) -> None:
        """Send, at once or in pieces of so many bytes with a switch of tasks between them."""
        if piece is None:
            await self.stream.send_all(data)
            return
        for start in range(0, len(data), piece):
            await self.stream.send_all(data[start : start + piece])
            await trio.lowlevel.checkpoint()


Script = Callable[[Call], Awaitable[None]]


@define(slots=False)
class ScriptedProvider:
    """Serves the n-th request with the n-th script, the last one again and again; a script's end closes.

    Attributes:
        calls: the requests so far, in order.
        stay: whether a connection is kept open for further requests after a script.
    """

    base_url: str
    scripts: list[Script]
    stay: bool = False
    calls: list[Call] = field(factory=list)
    connections: int = 0
    called: trio.Event = field(factory=trio.Event)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        self.connections += 1
        async with stream:
            while (call := await _receive(stream)) is not None:
                script = self.scripts[min(len(self.calls), len(self.scripts) - 1)]
                self.calls.append(call)
                self.called.set()
                try:
                    await script(call)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    call.closed.set()
                    return
                if not self.stay:
                    return


async def _receive(stream: trio.SocketStream) -> Call | None:
    held = b""
    while b"\r\n\r\n" not in held:
        if not (data := await _some(stream)):
            return None
        held += data
    head, _, body = held.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while len(body) < int(fields["content-length"]):
        body += await stream.receive_some()
    return Call(head.decode(), json.loads(body), stream)


async def _some(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some())
    except trio.BrokenResourceError:
        return b""


@asynccontextmanager
async def scripted_provider(*scripts: Script, stay: bool = False) -> AsyncIterator[ScriptedProvider]:
    """Run a scripted provider on a free port of the loopback."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        provider = ScriptedProvider(f"http://127.0.0.1:{port}/v1", list(scripts), stay=stay)
        nursery.start_soon(trio.serve_listeners, provider.serve, listeners)
        yield provider
        nursery.cancel_scope.cancel()


def says(*parts: bytes, piece: int | None = None) -> Script:
    """A script that sends all of it and is done."""

    async def script(call: Call) -> None:
        await call.send(b"".join(parts), piece=piece)

    return script


def streams(*parts: bytes, piece: int | None = None) -> Script:
    """A script that begins an event stream and sends the parts."""
    return says(EVENT_STREAM, *parts, piece=piece)


def stalls(*parts: bytes) -> Script:
    """A script that sends the parts and then nothing, until the client closes."""

    async def script(call: Call) -> None:
        await call.send(b"".join(parts))
        await until_closed(call)

    return script


def pours(parts: Iterable[bytes]) -> Script:
    """A script that sends part after part, as fast as the client reads, until it closes."""

    async def script(call: Call) -> None:
        await call.send(EVENT_STREAM)
        for part in parts:
            await call.send(part)

    return script


async def until_closed(call: Call) -> None:
    """Wait until the client has closed the connection."""
    while await _some(call.stream):
        pass
    call.closed.set()
