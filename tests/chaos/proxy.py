"""A proxy before Redis that loses and delays messages to subscribers; everything else passes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import trio

MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
"""How a message to a subscriber begins, in RESP2; the same with `>` in RESP3."""


class Splitter:
    """Cuts what a server says into its replies (RESP2 and RESP3, as far as Redis uses them here)."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Whole replies."""
        self._data += data
        while (end := self._end(0)) is not None:
            yield bytes(self._data[:end])
            del self._data[:end]

    def _end(self, start: int) -> int | None:
        """Where the reply that begins at `start` ends, if it is whole."""
        line = self._data.find(b"\r\n", start)
        if line < 0:
            return None
        kind, rest, after = self._data[start : start + 1], self._data[start + 1 : line], line + 2
        if kind in (b"$", b"=", b"!"):
            end = after + int(rest) + 2 if int(rest) >= 0 else after
            return end if end <= len(self._data) else None
        count = 0
        if kind in (b"*", b"~", b">"):
            count = int(rest)
        elif kind in (b"%", b"|"):
            count = 2 * int(rest)
        for _ in range(count):
            if (found := self._end(after)) is None:
                return None
            after = found
        return after


class LossyProxy:
    """Passes connections on to `port`; `lost` and `late` are shares of the messages to subscribers.

    While it is `stalled` it takes no messages from Redis, as a subscriber that is too slow.
    """

    def __init__(self, port: int, rng: random.Random) -> None:
        self.lost = self.late = 0.0
        self.dropped = 0
        self.stalled = False
        self.port = 0
        self._target = port
        self._rng = rng

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._pass, [listener])

    async def _pass(self, client: trio.SocketStream) -> None:
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._target)
        except OSError:
            await client.aclose()
            return
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._up, client, server, nursery.cancel_scope)
            await self._down(server, client)
            nursery.cancel_scope.cancel()

    async def _up(self, client: trio.SocketStream, server: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in client:
                await server.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _down(self, server: trio.SocketStream, client: trio.SocketStream) -> None:
        splitter = Splitter()
        try:
            async for data in server:
                for reply in splitter.feed(data):
                    if reply[1:].startswith(MESSAGE[1:]):
                        while self.stalled:  # noqa: ASYNC110
                            await trio.sleep(0.01)
                        if self._rng.random() < self.lost:
                            self.dropped += 1
                            continue
                        if self._rng.random() < self.late:
                            await trio.sleep(self._rng.random() * 0.2)
                    await client.send_all(reply)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
