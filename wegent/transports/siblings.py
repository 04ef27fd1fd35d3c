"""Questions to the other workers of this host, over their Unix sockets."""

from __future__ import annotations

from pathlib import Path

import h11
import trio

from wegent.server.ports.siblings import Answer, Siblings
from wegent.transports.peers import Peers

PATIENCE = 2.0
"""Seconds for all answers; a worker that hangs must not hide the others."""
MOST = 8 * 1024**2
READ = 65_536
ALONE = b"x-wegent-alone"
"""The header that says: answer for yourself."""


class PeerSiblings(Siblings):
    """Those whose sockets are in one folder; without one there are none."""

    def __init__(self, peers: Peers | None) -> None:
        self._peers = peers

    async def ask(self, path: str) -> list[Answer]:
        """Ask all of them at once."""
        found: list[Answer] = []
        if self._peers is None:
            return found
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for name in self._peers.others():
                    nursery.start_soon(_ask, name, self._peers.http(name), path, found)
        return sorted(found, key=lambda answer: answer.worker)


async def _ask(name: str, socket: Path, path: str, found: list[Answer]) -> None:
    try:
        async with await trio.open_unix_socket(socket) as stream:
            status, body = await _get(stream, path)
    except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError):
        return  # it has ended, or is about to
    found.append(Answer(name, status, body))


async def _get(stream: trio.SocketStream, path: str) -> tuple[int, bytes]:
    talk = h11.Connection(h11.CLIENT)
    headers = [(b"host", b"localhost"), (ALONE, b"1"), (b"connection", b"close")]
    asked = (h11.Request(method="GET", target=path, headers=headers), h11.EndOfMessage())
    await stream.send_all(b"".join(talk.send(part) or b"" for part in asked))
    status, body = 0, bytearray()
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(bytes(await stream.receive_some(READ)))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST:
                message = "the answer is too long"
                raise h11.RemoteProtocolError(message)
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        else:
            message = "the connection ended before the answer"
            raise trio.BrokenResourceError(message)
