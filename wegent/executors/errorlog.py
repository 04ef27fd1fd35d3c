"""What runners write to standard error."""

from __future__ import annotations

import logging

from wegent.core.model import StreamId

log = logging.getLogger(__name__)
MOST = 65_536
"""Bytes of one runner's standard error that may be logged."""


class ErrorLog:
    """It may hold what people said: it is logged at DEBUG only, and no more than `MOST` bytes of it."""

    __slots__ = ("_size", "_stream")

    def __init__(self, stream: StreamId) -> None:
        self._stream = stream
        self._size = 0

    def add(self, data: bytes | bytearray) -> None:
        """Something was written."""
        if self._size < MOST:
            log.debug("runner of %s: %s", self._stream, bytes(data[: MOST - self._size]).decode(errors="replace"))
        self._size += len(data)

    def close(self) -> None:
        """Nothing more comes."""
        if self._size:
            log.info("the runner of %s wrote %d bytes to its log", self._stream, self._size)
