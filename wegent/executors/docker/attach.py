"""The standard streams of a container, over a connection that the engine hands over (`Upgrade: tcp`).

The connection can't be closed one way: nothing may rely on the end of the container's standard input.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from wegent.core.errors import RunFailed
from wegent.executors.docker.frames import STDERR, STDOUT, FrameError, FrameReader

log = logging.getLogger(__name__)
READ = 65_536


class Output(trio.abc.ReceiveStream):
    """Standard output; what comes of standard error on the way goes to `on_error`, a plain function.

    Neither is read while nobody reads standard output. A connection that breaks, or is closed, is an end. `begun` was
    read already.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, begun: bytes, on_error: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._on_error = on_error
        self._frames = FrameReader()
        self._ready = bytearray()
        self._begun = begun

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What there is, at least one byte; empty at the end.

        Raises:
            RunFailed: the engine sent what is not a container's output.
        """
        if self._ready:
            await trio.lowlevel.checkpoint()
        while not self._ready:
            data = await self._more()
            if not data:
                return b""
            self._sort(data)
        most = max_bytes or READ
        piece = bytes(self._ready[:most])
        del self._ready[:most]
        return piece

    async def aclose(self) -> None:
        """Close the connection, input included."""
        await self._stream.aclose()

    async def _more(self) -> bytes | bytearray:
        if self._begun:
            begun, self._begun = self._begun, b""
            return begun
        try:
            return await self._stream.receive_some(READ)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _sort(self, data: bytes | bytearray) -> None:
        try:
            for number, piece in self._frames.feed(data):
                if number == STDOUT:
                    self._ready += piece
                elif number == STDERR:
                    self._on_error(piece)
                else:
                    log.warning("Docker says of a container: %s", piece.decode(errors="replace"))
        except FrameError as error:
            log.warning("Docker sent no frames: %s", error)
            message = "The Docker engine sent what is not a container's output."
            raise RunFailed(message, type="internal") from error
