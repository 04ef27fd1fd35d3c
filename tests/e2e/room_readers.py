"""A process of many clients in one room, which checks what it reads and measures how late it came.

    python -m tests.e2e.room_readers PORT TOKEN TASK CLIENTS

Says `joined`; when all of them have had the ending of a run, prints a line of JSON: seconds by percentile, and what
was read.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any

import msgspec

from tests.e2e.stamping import first_line
from wegent.transports.ws import PING, PONG, TEXT, Decoder
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request

TICK = 50_000
"""Nanoseconds of one bin of the histogram."""
KNOWN = 1_024
SHARED = 65_536
"""Bytes of a frame that others will get too, as a rule; larger ones are made for one who has fallen behind."""


class Chunk:
    """A chunk that was checked: where it starts and ends, and when its first line was written."""

    __slots__ = ("end", "ending", "offset", "written")

    def __init__(self, message: dict[str, Any]) -> None:
        event, data = message.get("event"), message.get("data", {})
        self.ending = event in ("chat:done", "chat:error", "chat:cancelled")
        assert event in ("chat:chunk", "chat:done"), message
        text = data["content"] if event == "chat:chunk" else ""
        self.offset = data.get("offset", 0)
        self.end = self.offset + len(text)
        first = first_line(self.offset, text)
        self.written = None if first is None else int(text[first + 9 : first + 29])


UNKNOWN = Chunk({"event": "chat:chunk", "data": {"content": ""}})


class Reader:
    """One client; `length` is what it has of the stream."""

    __slots__ = ("decoder", "ended", "length", "sock")

    def __init__(self, port: int, token: str, task_id: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.decoder = Decoder(1 << 22, masked=False)
        self.length = 0
        self.ended = False
        self.sock.sendall(upgrade_request("x", "/ws/chat", new_key(), [("Authorization", f"Bearer {token}")]))
        join = {"event": "task:join", "data": {"task_id": task_id}, "id": 1}
        self.sock.sendall(masked_frame(json.dumps(join).encode()))
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)
        events: list[Any] = []
        while len(events) < 2:
            events += self.decoder.feed(self.sock.recv(65_536))
        assert b'"ack":1' in events[1][1], events
        self.sock.setblocking(False)


class Readers:
    """All of them, and what they measured."""

    def __init__(self, port: int, token: str, task_id: int, clients: int) -> None:
        self.readers = [Reader(port, token, task_id) for _ in range(clients)]
        self.late: dict[int, int] = {}
        self.chunks = 0
        self.left = clients
        self._known: dict[bytes, Chunk | None] = {}

    def read(self) -> None:
        """Read until all have the ending."""
        with selectors.EpollSelector() as selector:
            for reader in self.readers:
                selector.register(reader.sock, selectors.EVENT_READ, reader)
            while self.left:
                for key, _ in selector.select(120):
                    self._take(key.data)

    def _take(self, reader: Reader) -> None:
        data = reader.sock.recv(262_144)
        assert data, "the server closed a connection that reads"
        for opcode, payload in reader.decoder.feed(data):
            if opcode == TEXT:
                self._message(reader, payload)
            elif opcode == PING:
                reader.sock.sendall(masked_frame(payload, PONG))

    def _message(self, reader: Reader, payload: bytes) -> None:
        chunk = self._known.get(payload, UNKNOWN)
        if chunk is UNKNOWN:
            if len(self._known) > KNOWN:
                self._known.clear()
            message = msgspec.json.decode(payload)
            interesting = message.get("event") in ("chat:chunk", "chat:done", "chat:error", "chat:cancelled")
            chunk = Chunk(message) if interesting else None
            if len(payload) < SHARED:
                self._known[payload] = chunk
        if chunk is None:
            return
        assert chunk.offset == reader.length, f"at {reader.length} came {chunk.offset}"
        reader.length = chunk.end
        if chunk.ending:
            assert not reader.ended
            reader.ended = True
            self.left -= 1
        elif chunk.written is not None:
            late = (time.monotonic_ns() - chunk.written) // TICK
            self.late[late] = self.late.get(late, 0) + 1
            self.chunks += 1

    def percentile(self, share: float) -> float:
        """Seconds from a line's writing to its reading."""
        wanted = share * self.chunks
        for late in sorted(self.late):
            wanted -= self.late[late]
            if wanted <= 0:
                return (late + 1) * TICK / 1e9
        return float("inf")


def main() -> None:
    port, token, task_id, clients = sys.argv[1:]
    readers = Readers(int(port), token, int(task_id), int(clients))
    print("joined", flush=True)
    readers.read()
    told = {
        "p50": readers.percentile(0.5),
        "p99": readers.percentile(0.99),
        "chunks": readers.chunks,
        "length": readers.readers[0].length,
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
