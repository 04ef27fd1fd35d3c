"""The other workers of this host: a session is served where it began, wherever its requests arrive.

Every worker has two Unix sockets in one folder, named after it. On `NAME.http` it takes requests as on the port; to
`NAME.pass` others hand whole connections, with what they have read of them (SCM_RIGHTS).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import trio

WHOLE = 131_072
"""Bytes of a request's beginning that are handed over at most; a head is far shorter."""


class Peers:
    """The workers whose sockets are in `folder`; `own` is this one's name."""

    def __init__(self, folder: Path, own: str) -> None:
        self.folder = folder
        self.own = own

    def owner(self, sid: str | None) -> str | None:
        """The other worker of this host that has the session of that id, if it is there."""
        name, dot, _ = (sid or "").partition(".")
        known = dot and name != self.own and name.replace("-", "").isalnum() and self.http(name).exists()
        return name if known else None

    def others(self) -> list[str]:
        """The names of the other workers of this host."""
        names = (path.stem for path in self.folder.glob("*.http"))
        return sorted(name for name in names if name != self.own)

    def http(self, name: str) -> Path:
        """Where a worker takes requests."""
        return self.folder / f"{name}.http"

    def passing(self, name: str) -> Path:
        """Where a worker takes connections."""
        return self.folder / f"{name}.pass"

    def listen(self) -> tuple[socket.socket, socket.socket]:
        """This worker's sockets: for requests, and for connections."""
        return _listen(self.http(self.own)), _listen(self.passing(self.own))

    def close(self) -> None:
        """Be found by nobody any more."""
        for path in (self.http(self.own), self.passing(self.own)):
            with suppress(OSError):
                path.unlink()

    async def hand_over(self, name: str, sock: socket.socket, read: bytes) -> bool:
        """Give a connection, of which `read` was read already, to a worker; False: it is not there. The socket here is
        to be closed either way, with no word to the client.
        """
        try:
            stream = await trio.open_unix_socket(self.passing(name))
        except OSError:
            return False
        async with stream:
            try:
                await stream.socket.sendmsg(
                    [b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sock.fileno().to_bytes(4, "little"))]
                )
                await stream.send_all(read)
                await stream.send_eof()
                await stream.receive_some(1)  # the end: it has taken it
            except (OSError, trio.BrokenResourceError):
                return False
        return True

    async def take_over(self, given: trio.socket.SocketType) -> tuple[socket.socket, bytes] | None:
        """A connection that another worker hands over, and what that has read of it."""
        stream = trio.SocketStream(given)
        async with stream:
            fds = await _descriptors(given)
            read = bytearray()
            try:
                while len(read) <= WHOLE and (data := await stream.receive_some(65_536)):
                    read += data
            except trio.BrokenResourceError:
                read.clear()
            if len(fds) == 1 and 0 < len(read) <= WHOLE:
                return socket.socket(fileno=fds[0]), bytes(read)
            for fd in fds:
                os.close(fd)
            return None


async def _descriptors(given: trio.socket.SocketType) -> list[int]:
    _, ancillary, _, _ = await given.recvmsg(1, socket.CMSG_SPACE(4))
    return [
        int.from_bytes(data[:4], "little")
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(data) >= 4
    ]


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(OSError):
        path.unlink()
    sock.bind(str(path))
    sock.listen(1_024)
    sock.setblocking(False)
    return sock
