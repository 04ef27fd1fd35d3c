"""HTTP over a connection to the engine: one question, one answer; or one that the engine hands over after it.

h11 by itself, not httpx: httpcore forgets a connection whose request is cancelled just before it is sent, and here
requests are cancelled all the time.
"""

from __future__ import annotations

from collections.abc import Mapping

import h11
import trio
from attrs import frozen

_READ = 65_536
_MOST = 64 * 1024**2
"""Bytes of an answer: the engine may have many containers, but not that many."""


@frozen
class Answer:
    """What the engine said. `handed_over`: the connection carries the streams of a container from now on, and `body` is
    what has come of them already.
    """

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes
    handed_over: bool = False

    @property
    def good(self) -> bool:
        """Whether it did what it was asked for."""
        return self.status < 400


async def ask(
    stream: trio.abc.Stream, method: str, target: str, body: bytes | None = None, *, take_over: bool = False
) -> Answer:
    """Ask once over a fresh connection.

    Raises:
        trio.BrokenResourceError: it ended before the answer did.
        h11.RemoteProtocolError: the other end does not speak HTTP, or says too much.
    """
    talk = h11.Connection(h11.CLIENT)
    headers = [("Host", "docker"), ("Content-Type", "application/json"), ("Content-Length", str(len(body or b"")))]
    headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")] if take_over else [("Connection", "close")]
    events = [h11.Request(method=method, target=target, headers=headers), h11.Data(body or b""), h11.EndOfMessage()]
    await stream.send_all(b"".join(talk.send(event) or b"" for event in events))
    head, parts, size = None, [], 0
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(bytes(await stream.receive_some(_READ)))
        elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return Answer(event.status_code, dict(event.headers), talk.trailing_data[0], handed_over=True)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            parts.append(bytes(event.data))
            size += len(event.data)
            if size > _MOST:
                message = "the answer is too long"
                raise h11.RemoteProtocolError(message)
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Answer(head.status_code, dict(head.headers), b"".join(parts))
        elif isinstance(event, h11.ConnectionClosed):
            message = "the connection ended before the answer"
            raise trio.BrokenResourceError(message)
