"""Clients made of a bare socket, which may misbehave: HTTP, the raw WebSocket transport, Engine.IO."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any, Self

from tests.e2e.serving import Server
from wegent.transports.ws import CLOSE, PING, PONG, TEXT, Decoder
from wegent.transports.ws.client import masked_frame, new_key, upgrade_request

PATIENCE = 15.0


class Socket:
    """A connection to the server's port. What arrives is kept in `rest` until it is asked for."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        self.rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def more(self) -> bool:
        """Wait for more bytes; False at the end, also at a hard one."""
        try:
            data = self.sock.recv(65_536)
        except ConnectionError:
            return False
        self.rest += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """All up to and including the mark; fails if the connection ends before."""
        while mark not in self.rest:
            assert self.more(), self.rest
        found, _, self.rest = self.rest.partition(mark)
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            assert self.more(), self.rest
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def to_the_end(self) -> bytes:
        """Everything until the server closes."""
        while self.more():
            pass
        return self.rest

    def response(self) -> tuple[int, dict[str, str], bytes]:
        """The next HTTP response, its body by Content-Length."""
        status_line, *lines = self.until(b"\r\n\r\n").decode("latin-1")[:-4].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status_line.split(" ")[1]), headers, self.exactly(int(headers.get("content-length", "0")))

    def request(self, head: str, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask on this connection, which stays open."""
        length = [f"Content-Length: {len(body)}"] if body or head.startswith("POST") else []
        self.send("\r\n".join([f"{head} HTTP/1.1", "Host: x", *length, *headers, "", ""]).encode() + body)
        return self.response()

    def vanish(self) -> None:
        """End with a reset, as a machine does that has lost its mind."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class WebSocket(Socket):
    """An upgraded connection. Pings are answered when messages are waited for."""

    def __init__(self, server: Server, target: str, *headers: tuple[str, str]) -> None:
        super().__init__(server)
        self.decoder = Decoder(1 << 24, masked=False)
        self.waiting: list[tuple[int, bytes]] = []
        self.closed: tuple[int, str] | None = None
        self.send(upgrade_request("x", target, new_key(), headers))
        status = self.until(b"\r\n\r\n").split(b" ")[1]
        assert status == b"101", status + self.to_the_end()
        self.waiting += self.decoder.feed(self.rest)
        self.rest = b""

    def say(self, payload: bytes | str, opcode: int = TEXT) -> None:
        self.send(masked_frame(payload.encode() if isinstance(payload, str) else payload, opcode))

    def frame(self) -> tuple[int, bytes] | None:
        """The next frame; None once the connection has ended. A close frame's code is kept."""
        while True:
            while not self.waiting:
                if not self.more():
                    return None
                self.waiting += self.decoder.feed(self.rest)
                self.rest = b""
            opcode, payload = self.waiting.pop(0)
            if opcode == PING:
                self.say(payload, PONG)
            elif opcode == CLOSE:
                self.closed = (int.from_bytes(payload[:2], "big"), payload[2:].decode()) if payload else (1005, "")
            else:
                return opcode, payload

    def closing(self) -> tuple[int, str] | None:
        """Read to the end; the close code and reason, None if it ended without."""
        while self.frame() is not None:
            pass
        return self.closed


class Raw(WebSocket):
    """The raw transport (protocol §2); with a token it is greeted already."""

    def __init__(self, server: Server, token: str | None = None, *headers: tuple[str, str]) -> None:
        super().__init__(server, "/ws/chat", *headers)
        self.passed: list[dict[str, Any]] = []
        if token is not None:
            self.tell({"auth": {"token": token}})
            assert "ready" in self.message()

    def tell(self, message: Any) -> None:
        self.say(json.dumps(message))

    def message(self) -> dict[str, Any]:
        frame = self.frame()
        assert frame is not None, f"closed with {self.closed}"
        assert frame[0] == TEXT
        return dict(json.loads(frame[1]))

    def call(self, event: str, data: Any = None, ack_id: Any = 1) -> Any:
        """The ack's payload. Events before it are kept in `passed`."""
        self.tell({"event": event, "data": data, "id": ack_id})
        return self.answer(ack_id)

    def answer(self, ack_id: Any = 1) -> Any:
        while "ack" not in (message := self.message()):
            self.passed.append(message)
        assert message["ack"] == ack_id
        return message["data"]

    def event(self, *names: str) -> dict[str, Any]:
        """The payload of the next event of these names."""
        while True:
            message = self.passed.pop(0) if self.passed else self.message()
            if message.get("event") in names:
                return dict(message["data"])


class Engine(WebSocket):
    """Engine.IO over WebSocket; `open` is its handshake."""

    def __init__(self, server: Server, *, sid: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        target = "/socket.io/?EIO=4&transport=websocket" + (f"&sid={sid}" if sid else "")
        super().__init__(server, target, *headers)
        self.open: dict[str, Any] = {}
        if sid is None:
            packet = self.packet()
            assert packet[0] == "0"
            self.open = json.loads(packet[1:])

    def packet(self) -> str:
        """The next packet; engine pings are answered."""
        while True:
            frame = self.frame()
            assert frame is not None, f"closed with {self.closed}"
            if frame == (TEXT, b"2"):
                self.say("3")
            elif frame[0] == TEXT:
                return frame[1].decode()

    def connect(self, token: str, namespace: str = "/chat") -> str:
        self.say(f"40{namespace}," + json.dumps({"token": token}))
        return self.packet()

    def ends(self) -> list[str]:
        """Packets until the connection has ended."""
        packets = []
        while (frame := self.frame()) is not None:
            packets.append(frame[1].decode())
        return packets


POLL = "/socket.io/?EIO=4&transport=polling"


class Poller(Socket):
    """Engine.IO over long-polling, one request after the other on a kept connection."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        super().__init__(server)
        status, _, body = self.request(f"GET {POLL}")
        assert status == 200, body
        self.sid: str = json.loads(body[1:])["sid"]
        self.target = f"{POLL}&sid={self.sid}"
        if token is not None:
            assert self.post("40/chat," + json.dumps({"token": token})) == (200, b"ok")
            assert self.poll().startswith(b"40/chat,")

    def poll(self) -> bytes:
        status, _, body = self.request(f"GET {self.target}")
        assert status == 200, body
        return body

    def post(self, body: str | bytes, *headers: str) -> tuple[int, bytes]:
        data = body.encode() if isinstance(body, str) else body
        status, _, answer = self.request(f"POST {self.target}", data, *headers)
        return status, answer


def still_serves(server: Server, token: str) -> None:
    """A fresh client is answered, and nothing of what the server wrote since the last look is a traceback."""
    started = time.monotonic()
    with Raw(server, token) as client:
        assert client.call("task:join", {"task_id": 2**40})["code"] == "NOT_FOUND"
    assert time.monotonic() - started < PATIENCE
    output = "".join(server.output)
    server.output.clear()
    assert "Traceback" not in output, output
