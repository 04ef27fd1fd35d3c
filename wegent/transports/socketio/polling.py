"""Engine.IO 4 long-polling, as a raw ASGI application."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import trio

from wegent import codec
from wegent.transports.forwarding import Unreachable, forward
from wegent.transports.otherhosts import FORWARDED, Connect, unknown_session
from wegent.transports.socketio.client import Client
from wegent.transports.socketio.engineio import POLLING
from wegent.transports.socketio.payload import decode_payload
from wegent.transports.socketio.transport import SocketIOTransport
from wegent.transports.socketio.values import PacketError

PAYLOAD = 262_144
"""Bytes of one payload at most, but for a longer piece."""
TEXT = (b"content-type", b"text/plain; charset=UTF-8")
JSON = (b"content-type", b"application/json")
Headers = list[tuple[bytes, bytes]]


class Refusal(Exception):
    """An error as Engine.IO tells it."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


UNKNOWN_TRANSPORT = (0, "Transport unknown")
BAD_METHOD = (2, "Bad handshake method")
BAD_REQUEST = (3, "Bad request")
FORBIDDEN = (4, "Forbidden", 403)
UNSUPPORTED = (5, "Unsupported protocol version")
DRAINING = (3, "Server is shutting down", 503)
TOO_LARGE = (3, "Payload too large", 413)
TOO_SLOW = (3, "The request's body did not come in time", 408)


class Polling:
    """`GET` takes what waits for a session, `POST` brings packets."""

    def __init__(self, transport: SocketIOTransport) -> None:
        self._transport = transport

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        headers = dict(scope["headers"])
        origin, host = _text(headers.get(b"origin")), _text(headers.get(b"host"))
        allowed = self._transport.origins.allows(origin, host)
        common: Headers = [(b"cache-control", b"no-store")]
        if origin is not None and allowed:
            common += [
                (b"access-control-allow-origin", origin.encode()),
                (b"access-control-allow-credentials", b"true"),
                (b"vary", b"Origin"),
            ]
        try:
            if not allowed:
                raise Refusal(*FORBIDDEN)
            if await self._pass_on(scope, headers, receive, send):
                return
            status, more, body = await self._answer(scope, headers, receive)
        except Refusal as error:
            status, more = error.status, [JSON]
            body = codec.encode({"code": error.code, "message": error.message})
        if status:
            await _send(send, status, [*common, *more], body)

    async def _answer(self, scope: Any, headers: dict[bytes, bytes], receive: Any) -> tuple[int, Headers, bytes]:
        method = scope["method"]
        if method == "OPTIONS":
            allow = [(b"access-control-allow-methods", b"GET, POST"), (b"access-control-max-age", b"86400")]
            asked = headers.get(b"access-control-request-headers")
            return 204, allow + ([(b"access-control-allow-headers", asked)] if asked else []), b""
        try:
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=64))
        except ValueError:
            raise Refusal(*BAD_REQUEST) from None
        if query.get("transport") != POLLING:
            raise Refusal(*UNKNOWN_TRANSPORT)
        if query.get("EIO") != "4":
            raise Refusal(*UNSUPPORTED)
        if "sid" not in query:
            return self._open(method)
        client = self._transport.get(query["sid"])
        if client is None:
            raise self._unknown(query["sid"])
        if method == "GET":
            return await self._poll(client, receive)
        if method == "POST":
            return await self._post(client, headers, receive)
        raise Refusal(*BAD_METHOD)

    async def _pass_on(self, scope: Any, headers: dict[bytes, bytes], receive: Any, send: Any) -> bool:
        """Have another worker answer, of this host or another, if the session is there; whether it was."""
        if b"sid=" not in scope["query_string"]:
            return False
        sid = dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("sid")
        connect = await self._way(sid, headers)
        if connect is None:
            return False
        body = await self._body(headers, receive) if scope["method"] == "POST" else b""
        try:
            await forward(connect, scope, body, receive, send)
        except Unreachable:
            raise self._unknown(sid) from None
        return True

    async def _way(self, sid: str | None, headers: dict[bytes, bytes]) -> Connect | None:
        """How the worker that has the session is reached, if it is another one that is known."""
        services = self._transport.services
        if services.peers is not None and (owner := services.peers.owner(sid)) is not None:
            return partial(trio.open_unix_socket, services.peers.http(owner))
        if services.hosts is None or FORWARDED in headers or self._transport.get(sid or "") is not None:
            return None
        return await services.hosts.way(sid)

    def _unknown(self, sid: str | None) -> Refusal:
        return Refusal(1, unknown_session(sid, self._transport.services.worker))

    def _open(self, method: str) -> tuple[int, Headers, bytes]:
        if method != "GET":
            raise Refusal(*BAD_METHOD)
        if self._transport.services.sessions.draining:
            raise Refusal(*DRAINING)
        return 200, [TEXT], self._transport.new_client(POLLING).open_text()

    async def _poll(self, client: Client, receive: Any) -> tuple[int, Headers, bytes]:
        if client.transport != POLLING:
            raise Refusal(*BAD_REQUEST)
        if client.polling:
            client.client_left()  # two polls at once: what one takes, the other would miss
            raise Refusal(*BAD_REQUEST)
        body = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_disconnect, receive, nursery.cancel_scope)
            body = await client.poll(PAYLOAD)
            nursery.cancel_scope.cancel()
        return (200, [TEXT], body) if body else (0, [], b"")

    async def _post(self, client: Client, headers: dict[bytes, bytes], receive: Any) -> tuple[int, Headers, bytes]:
        self._check_length(headers)
        if client.posting:
            client.client_left()  # two at once have no order
            raise Refusal(*BAD_REQUEST)
        client.posting = True
        try:
            return await self._receive(client, await self._body(headers, receive))
        finally:
            client.posting = False

    def _check_length(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b"content-length", b"0")
        if len(length) > 15 or int(length) > self._transport.services.config.max_payload:
            raise Refusal(*TOO_LARGE)

    async def _body(self, headers: dict[bytes, bytes], receive: Any) -> bytes:
        self._check_length(headers)
        config = self._transport.services.config
        with trio.move_on_after(config.body_timeout):
            return await _read(receive, config.max_payload)
        raise Refusal(*TOO_SLOW)

    async def _receive(self, client: Client, body: bytes) -> tuple[int, Headers, bytes]:
        try:
            packets = decode_payload(body)
            for kind, data in packets:
                if not client.receive_engine(kind, data):
                    await client.make_room()
        except PacketError:
            client.client_left()
            raise Refusal(*BAD_REQUEST) from None
        return 200, [TEXT], b"ok"


async def _until_disconnect(receive: Any, scope: trio.CancelScope) -> None:
    """The client gave up waiting: what waits for it stays for its next poll."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _read(receive: Any, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(*BAD_REQUEST)
        body += message.get("body", b"")
        if len(body) > limit:
            raise Refusal(*TOO_LARGE)
        if not message.get("more_body"):
            return bytes(body)


async def _send(send: Any, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
