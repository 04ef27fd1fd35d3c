"""What waits for one receiver of messages."""

from __future__ import annotations

import trio

from wegent.core.ports.fanout import Lost, Message

MESSAGES = 10_000
BYTES = 64 * 1024 * 1024
_LOST = Lost()


class Backlog:
    """A bounded queue: what comes past the bounds is dropped, and shows as `Lost`."""

    def __init__(self, messages: int = MESSAGES, size: int = BYTES) -> None:
        self._most = messages
        self._most_size = size
        self._waiting: list[Message | Lost] = []
        self._size = 0
        self._arrived = trio.lowlevel.ParkingLot()

    def put(self, message: Message, size: int) -> bool:
        """Add a message of so many bytes; False if it was dropped."""
        if len(self._waiting) >= self._most or self._size + size > self._most_size:
            self.lose()
            return False
        self._waiting.append(message)
        self._size += size
        if self._arrived:
            self._arrived.unpark()
        return True

    def lose(self) -> None:
        """Say once that something is missing here."""
        if not self._waiting or self._waiting[-1] is not _LOST:
            self._waiting.append(_LOST)
            self._arrived.unpark()

    async def take(self) -> list[Message | Lost]:
        """Wait for something, and take all of it."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            await self._arrived.park()
        waiting, self._waiting, self._size = self._waiting, [], 0
        return waiting
