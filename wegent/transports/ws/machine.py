"""The server's side of one open connection: pongs and the close handshake (RFC 6455 §5.5, §7), sans-IO."""

from __future__ import annotations

from enum import IntEnum

from wegent.transports.ws.decoder import Decoder, Event
from wegent.transports.ws.frames import (
    ABNORMAL,
    CLOSE,
    NORMAL,
    PING,
    PONG,
    close_frame,
    frame,
    parse_close,
)


class State(IntEnum):
    """How far a connection is."""

    OPEN = 0
    CLOSING = 1  # we said close and wait for the peer's answer
    CLOSED = 2  # nothing more is read; send what `outgoing` gives, then end the byte stream


class Connection:
    """What arrives on one connection, and the control frames that it calls for.

    Bytes go in by `receive`, messages come out; what must be sent because of them comes from `outgoing`, to
    be taken after each `receive` and `close`. Messages to the peer are made with `frame` and sent by whoever
    holds them, as long as `state` is OPEN; after the close frame nothing may follow.

    `code` and `reason` tell what ended the connection: our report of a violation, or the first close frame of
    either side; NO_STATUS if it was empty, ABNORMAL if the bytes ended without one. 0 while it is open.
    """

    __slots__ = ("_closing", "_decoder", "_ping", "code", "reason", "state")

    def __init__(self, max_message: int) -> None:
        self.state = State.OPEN
        self.code = 0
        self.reason = ""
        self._decoder = Decoder(max_message)
        self._ping: bytes | None = None
        self._closing = b""

    def receive(self, data: bytes) -> list[Event]:
        """The messages that `data` completes, in order, and PONG events; never raises.

        Pings are answered by `outgoing`: of several at once the last, as §5.5.3 allows, so that a flood of
        them costs one frame a read. Once `close` was called messages are dropped.
        """
        before = self.state
        if before is State.CLOSED:
            return []
        events = self._decoder.feed(data)
        if self._decoder.special:
            events = self._control(events)
        return events if before is State.OPEN else []

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Begin the close handshake; nothing if it has begun. Raises ValueError for a code not to be sent."""
        if self.state is State.OPEN:
            self._closing = close_frame(code, reason)
            self.state, self.code, self.reason = State.CLOSING, code, reason

    def eof(self) -> None:
        """The peer's bytes have ended."""
        if self.state is State.OPEN:
            self.code = ABNORMAL
        self.state = State.CLOSED

    def outgoing(self) -> bytes:
        """Control frames to send now, b"" when there are none; each is given once."""
        if self._ping is None and not self._closing:
            return b""
        due = self._closing if self._ping is None else frame(self._ping, PONG) + self._closing
        self._ping, self._closing = None, b""
        return due

    def _control(self, events: list[Event]) -> list[Event]:
        kept: list[Event] = []
        for event in events:
            opcode, payload = event
            if opcode == PING:
                if self.state is State.OPEN:
                    self._ping = payload
            elif opcode == CLOSE:
                self._end(*parse_close(payload), explain=False)
            else:
                kept.append(event)
        error = self._decoder.error
        if error is not None:
            self._end(error.code, error.reason, explain=True)
        return kept

    def _end(self, code: int, reason: str, *, explain: bool) -> None:
        """Answer with a close frame, unless ours is out."""
        if self.state is State.OPEN:
            self._closing = close_frame(code, reason if explain else "")
            self.code, self.reason = code, reason
        self.state = State.CLOSED
