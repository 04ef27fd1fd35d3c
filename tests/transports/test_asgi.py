"""What an HTTP connection costs once its client has gone: nothing. On real sockets, behind a front door."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from wegent.core.instruments import Registry
from wegent.server.ports.routes import AsgiApp
from wegent.transports.asgi import HttpConfig, HttpServer
from wegent.transports.frontdoor import FrontDoor, listen
from wegent.transports.plain import PlainSocket

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"hi"}


class House:
    """A door with one application behind it, whose connections would be kept for an hour."""

    def __init__(self, app: AsgiApp) -> None:
        self.door = FrontDoor(Registry())
        self.http = HttpServer(app, {}, HttpConfig(keep_alive=3_600.0))
        self.door.fall_back(self.serve)
        self.port = 0
        self.ended = trio.Event()

    async def serve(self, plain: PlainSocket) -> None:
        await self.http.serve(plain)
        self.ended.set()


@asynccontextmanager
async def house(app: AsgiApp) -> AsyncIterator[House]:
    home = House(app)
    listeners = listen("127.0.0.1", 0)
    home.port = listeners[0].getsockname()[1]
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(home.door.run)
            nursery.start_soon(home.door.accept, listeners)
            yield home
            nursery.cancel_scope.cancel()


def vanish(client: trio.SocketStream) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


async def test_a_kept_connection_ends_when_its_client_closes() -> None:
    kept = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        kept.set()

    async with house(app) as home, await trio.open_tcp_stream("127.0.0.1", home.port) as client:
        await client.send_all(ASK)
        await kept.wait()  # it waits for the next request from now on
        await client.send_eof()
        said = b"".join([part async for part in client])
        await home.ended.wait()
    assert said.endswith(b"\r\n\r\nhi")


async def test_a_kept_connection_ends_when_its_client_vanishes() -> None:
    kept = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(BODY)
        kept.set()

    async with house(app) as home:
        client = await trio.open_tcp_stream("127.0.0.1", home.port)
        await client.send_all(ASK)
        await kept.wait()
        vanish(client)
        await home.ended.wait()


async def test_an_answer_to_a_client_that_vanished_does_not_keep_the_connection() -> None:
    asked = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await send(START)
        await send(BODY)

    async with house(app) as home:
        client = await trio.open_tcp_stream("127.0.0.1", home.port)
        await client.send_all(ASK)
        await asked.wait()
        vanish(client)
        await home.ended.wait()
