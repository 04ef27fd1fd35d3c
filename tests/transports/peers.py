"""Peers of the transports under test: bare sockets on Trio, in the same process as what they talk to."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from wegent.core.timers import Timers
from wegent.transports.ws import CLOSE, PING, PONG, TEXT, Decoder
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request

PATIENCE = 10.0


class Peer:
    """One connection; every wait ends within PATIENCE."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.rest = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def more(self) -> bool:
        try:
            with trio.fail_after(PATIENCE):
                data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            return False
        self.rest += data
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            assert await self.more(), self.rest
        found, _, self.rest = self.rest.partition(mark)
        return found + mark

    async def request(self, head: str, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{head} HTTP/1.1", "Host: x", *headers]
        lines += [f"Content-Length: {len(body)}"] if head.startswith("POST") else []
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return await self.response()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        status, *lines = (await self.until(b"\r\n\r\n")).decode("latin-1")[:-4].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", "0"))
        while len(self.rest) < size:
            assert await self.more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return int(status.split(" ")[1]), headers, body

    async def vanish(self) -> None:
        """End with a reset."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.stream.aclose()


class WebSocketPeer(Peer):
    """One that was upgraded; WebSocket pings are answered while frames are waited for."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.decoder = Decoder(1 << 24, masked=False)
        self.waiting: list[tuple[int, bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.answers_pings = True

    async def say(self, payload: str | bytes, opcode: int = TEXT) -> None:
        await self.send(masked_frame(payload.encode() if isinstance(payload, str) else payload, opcode))

    async def tell(self, message: Any) -> None:
        await self.say(json.dumps(message))

    async def frame(self) -> str | None:
        """The next text; None at the end."""
        while True:
            while not self.waiting:
                if self.rest:
                    self.waiting += self.decoder.feed(self.rest)
                    self.rest = b""
                elif not await self.more():
                    return None
            opcode, payload = self.waiting.pop(0)
            if opcode == CLOSE:
                self.closed = int.from_bytes(payload[:2], "big"), payload[2:].decode()
            elif opcode == PING and self.answers_pings:
                await self.say(payload, PONG)
            elif opcode == TEXT:
                return payload.decode()

    async def message(self) -> dict[str, Any]:
        text = await self.frame()
        assert text is not None, self.closed
        return dict(json.loads(text))

    async def ends(self) -> list[str]:
        """Texts until the end; `closed` tells how it came."""
        texts = []
        while (text := await self.frame()) is not None:
            texts.append(text)
        return texts


@asynccontextmanager
async def peer(port: int) -> AsyncIterator[Peer]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield Peer(stream)


@asynccontextmanager
async def websocket(port: int, target: str, *headers: tuple[str, str]) -> AsyncIterator[WebSocketPeer]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        made = WebSocketPeer(stream)
        await made.send(upgrade_request("x", target, new_key(), headers))
        head = await made.until(b"\r\n\r\n")
        assert head.split(b" ")[1] == b"101", head + made.rest
        yield made


def pending(timers: Timers) -> int:
    """Deadlines that are still waited for."""
    return sum(timer.callback is not None for _, _, timer in timers._heap)


async def eventually(found: Any) -> None:
    """Wait until it is true; for ends that nobody announces."""
    with trio.fail_after(PATIENCE):
        while not found():  # noqa: ASYNC110
            await trio.sleep(0.005)
