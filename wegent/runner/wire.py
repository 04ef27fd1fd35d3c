"""The runner's two streams: lines of JSON in, lines of JSON out."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import trio

from wegent.core.errors import RunFailed
from wegent.core.text import bounded

MOST = 1_000_000
"""Bytes of one line (protocol §7.2)."""


class Wire:
    """Takes over standard input and output, so that whatever else writes to standard output goes to the log instead,
    and whatever else reads standard input finds it empty.
    """

    def __init__(self) -> None:
        received, sent = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        self._receive = trio.lowlevel.FdStream(received)
        self._send = trio.lowlevel.FdStream(sent)
        self._sending = trio.Lock()
        self._parts: list[bytes] = []
        self._lines: deque[bytes] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._receive.aclose()
        await self._send.aclose()

    async def receive(self) -> Any:
        """What the server says next, None when standard input has ended."""
        while not self._lines:
            data = await self._receive.receive_some(65_536)
            if not data:
                return None
            first, *others = data.split(b"\n")
            self._parts.append(first)
            for other in others:
                self._lines.append(b"".join(self._parts))
                self._parts = [other]
        return json.loads(self._lines.popleft())

    async def say(self, kind: str, /, **fields: Any) -> None:
        """Send a line, whole even if the agent is cancelled meanwhile; a checkpoint.

        Raises:
            RunFailed: it is longer than a line may be.
        """
        line = _line({"type": kind, **{name: value for name, value in fields.items() if value is not None}})
        if len(line) > MOST:
            message = f"The agent said a {kind} of {len(line):,} bytes; {MOST:,} are possible."
            raise RunFailed(message, type="protocol")
        async with self._sending:
            with trio.CancelScope(shield=True):
                await self._send.send_all(line)


def _line(message: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError):  # something that is not JSON
        text = json.dumps(bounded(message), ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # halves of surrogate pairs, which the server joins
        return json.dumps(json.loads(text), separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(type(value).__name__)
