"""From bytes to messages: the receiving half of RFC 6455 §5, sans-IO."""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from typing import Final, TypeAlias

from wegent.transports.ws.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_TEXT,
    MAX_CONTROL,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    ProtocolError,
    parse_close,
)
from wegent.transports.ws.masking import apply_mask

Event: TypeAlias = tuple[int, bytes]
"""Opcode and payload of a whole message or control frame. TEXT is bytes that were checked to be UTF-8."""

_WHOLE_TEXT: Final = 0x80 | TEXT
_WHOLE_BINARY: Final = 0x80 | BINARY
_INCOMPLETE: Final = -1
_NO_MASK: Final = b""
_new_utf8: Final = getincrementaldecoder("utf-8")


class Decoder:
    """Cuts one connection's bytes into messages and control frames.

    `max_message` is in bytes and holds for a message over all its fragments. It is checked when the head of
    a frame is in, before any of its payload is kept. At most one message and one control frame are held back.
    `masked` says what the peer must do: True on a server, False on a client.

    After the first violation, and after a close frame, everything further is ignored.
    """

    __slots__ = (
        "_body",
        "_done",
        "_fin",
        "_left",
        "_mask",
        "_masked",
        "_max",
        "_opcode",
        "_quick",
        "_tail",
        "_utf8",
        "error",
        "special",
    )

    def __init__(self, max_message: int, *, masked: bool = True) -> None:
        self.error: ProtocolError | None = None
        """The violation that ended the stream; what came before it has been returned."""
        self.special = False
        """Whether the last `feed` met a control frame or a violation; False is the common case."""
        self._max = max_message
        self._masked = masked
        self._quick = masked and max_message >= MAX_CONTROL
        self._done = False
        self._tail = b""  # an incomplete head, or an incomplete control frame
        self._opcode = 0  # of the message in progress
        self._body = bytearray()  # its payload so far, unmasked
        self._utf8: IncrementalDecoder | None = None  # checks it, where it is text
        self._left = 0  # bytes still to come of the frame in progress
        self._fin = False
        self._mask = _NO_MASK  # turned so that it begins at the next byte

    def feed(self, data: bytes) -> list[Event]:
        """What `data` completes, in order; never raises, see `error`.

        The cost is linear in the bytes received, however they are cut.
        """
        events: list[Event] = []
        self.special = False
        if self._done:
            return events
        if self._tail:
            data = self._tail + data
            self._tail = b""
        position = self._payload(data, 0, events) if self._left else 0
        size = len(data)
        while -1 < position < size - 1:
            first = data[position]
            second = data[position + 1]
            # The hot path: a whole message in one frame below 126 bytes. All else, errors too, is in _frame.
            if (
                (first == _WHOLE_TEXT or first == _WHOLE_BINARY)  # noqa: SIM109 - faster
                and 128 <= second < 254
                and self._quick
                and not self._opcode
                and (end := position + second - 122) <= size
            ):
                start = position + 6
                payload = apply_mask(data[start:end], data[position + 2 : start])
                if first == _WHOLE_TEXT and not payload.isascii() and not _is_utf8(payload):
                    self._fail(INVALID_TEXT, "A text message is not valid UTF-8.")
                    return events
                events.append((first & 0x0F, payload))
                position = end
            else:
                position = self._frame(data, position, events)
        if 0 <= position < size and not self._done:
            self._tail = data[position:]
        return events

    def _frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Take one frame, or the part of it that is here; where to go on, or -1.

        Checks are made in the order of the bytes they need, so that the way bytes are cut changes no verdict.
        """
        first = data[position]
        length = data[position + 1] & 0x7F
        opcode = first & 0x0F
        if complaint := self._complaint(first, data[position + 1]):
            return self._fail(PROTOCOL_ERROR, complaint)
        if opcode >= CLOSE:
            return self._control(data, position, events)
        start = position + 2
        if length > 125:
            start += 2 if length == 126 else 8
            if start > len(data):
                return self._wait(data, position)
            least = 126 if length == 126 else 65536
            length = int.from_bytes(data[position + 2 : start], "big")
            if length >> 63:
                return self._fail(PROTOCOL_ERROR, "The highest bit of a 64-bit length is set.")
            if length < least:
                return self._fail(PROTOCOL_ERROR, "A length is not written in the shortest form.")
        if len(self._body) + length > self._max:
            return self._fail(TOO_BIG, f"A message holds at most {self._max} bytes.")
        if self._masked:
            start += 4
            if start > len(data):
                return self._wait(data, position)
            self._mask = data[start - 4 : start]
        if opcode and first > 0x7F and start + length <= len(data):
            return self._whole(opcode, data, start, start + length, events)
        if opcode:
            self._opcode = opcode
            self._utf8 = _new_utf8() if opcode == TEXT else None
        self._left = length
        self._fin = first > 0x7F
        return self._payload(data, start, events)

    def _complaint(self, first: int, second: int) -> str | None:
        """What is wrong with the first two bytes of a frame (§5.2, §5.4, §5.5)."""
        opcode = first & 0x0F
        if first & 0x70:
            return "A reserved bit is set, but no extension was agreed on."
        if (second > 0x7F) is not self._masked:
            return "A client must mask its frames." if self._masked else "A server must not mask its frames."
        if opcode >= CLOSE:
            if opcode > 0xA:
                return f"Opcode {opcode} is not defined."
            if first < 0x80:
                return "A control frame must not be fragmented."
            if second & 0x7F > MAX_CONTROL:
                return "A control frame holds at most 125 bytes."
            return None
        if opcode > BINARY:
            return f"Opcode {opcode} is not defined."
        if opcode == CONTINUATION and not self._opcode:
            return "A continuation frame continues nothing."
        if opcode and self._opcode:
            return "A message began inside a fragmented one."
        return None

    def _whole(self, opcode: int, data: bytes, start: int, end: int, events: list[Event]) -> int:
        """Take a message of one frame that is here to its end."""
        payload = data[start:end]
        if self._masked:
            payload = apply_mask(payload, self._mask)
        if opcode == TEXT and not payload.isascii() and not _is_utf8(payload):
            return self._fail(INVALID_TEXT, "A text message is not valid UTF-8.")
        events.append((opcode, payload))
        return end

    def _payload(self, data: bytes, start: int, events: list[Event]) -> int:
        """Take what is here of the payload of the frame in progress."""
        chunk = data[start : start + self._left]
        self._left -= len(chunk)
        end = start + len(chunk)
        if self._masked and chunk:
            turn = len(chunk) & 3
            mask = self._mask
            chunk = apply_mask(chunk, mask)
            if turn:
                self._mask = mask[turn:] + mask[:turn]
        last = self._fin and not self._left
        if self._utf8 is not None and not _go_on(self._utf8, chunk, last):
            return self._fail(INVALID_TEXT, "A text message is not valid UTF-8.")
        if last and not self._body:
            events.append((self._opcode, chunk))
            self._opcode = 0
        elif last:
            self._body += chunk
            events.append((self._opcode, bytes(self._body)))
            self._opcode = 0
            self._body = bytearray()
        else:
            self._body += chunk
        return end

    def _control(self, data: bytes, position: int, events: list[Event]) -> int:
        start = position + (6 if self._masked else 2)
        end = start + (data[position + 1] & 0x7F)
        if end > len(data):
            return self._wait(data, position)
        payload = data[start:end]
        if self._masked:
            payload = apply_mask(payload, data[start - 4 : start])
        opcode = data[position] & 0x0F
        self.special = True
        if opcode == CLOSE:
            try:
                parse_close(payload)
            except ProtocolError as error:
                return self._fail(error.code, error.reason)
            self._finish()
            end = _INCOMPLETE
        events.append((opcode, payload))
        return end

    def _wait(self, data: bytes, position: int) -> int:
        self._tail = data[position:]
        return _INCOMPLETE

    def _fail(self, code: int, reason: str) -> int:
        self.error = ProtocolError(code, reason)
        self.special = True
        self._finish()
        return _INCOMPLETE

    def _finish(self) -> None:
        self._done = True
        self._body = bytearray()
        self._utf8 = None


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _go_on(utf8: IncrementalDecoder, chunk: bytes, last: bool) -> bool:
    """Check the next part of a text; False as soon as no further byte could make it valid."""
    if chunk.isascii() and not utf8.getstate()[0]:
        return True
    try:
        utf8.decode(chunk, last)
    except UnicodeDecodeError:
        return False
    rest = utf8.getstate()[0]
    # The codec holds the first two bytes of an encoded surrogate back, though nothing can follow them.
    return len(rest) != 2 or rest[0] != 0xED or rest[1] < 0xA0
