"""An answer written to a pipe or a file: its text and nothing else, as it comes."""

from __future__ import annotations

import sys

import trio

from wegent.client.message import Message


class PlainAnswer:
    """Writes one answer's text to stdout; that it begins anew goes to stderr. Made for each answer that is followed."""

    def __init__(self) -> None:
        self._attempt = 0
        self._at = 0
        self._last = "\n"

    async def show(self, message: Message) -> None:
        """Write what is new; a pipe that nobody reads holds up this answer, not the connection."""
        if message.attempt != self._attempt or len(message.content) < self._at:
            if self._at:
                await self._write("" if self._last == "\n" else "\n")
                sys.stderr.write("wegent: the answer begins anew\n")
            self._attempt, self._at = message.attempt, 0
        if len(message.content) > self._at:
            new = message.content.since(self._at)
            self._at = len(message.content)
            await self._write(new)

    async def finish(self, message: Message) -> None:
        """Write the rest, and end the line."""
        await self.show(message)
        if self._last != "\n":
            await self._write("\n")

    async def _write(self, text: str) -> None:
        if text:
            self._last = text[-1]
            await trio.to_thread.run_sync(_write, text, abandon_on_cancel=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
