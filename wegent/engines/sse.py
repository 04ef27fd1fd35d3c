"""Server-sent events, without I/O: an incremental parser with limits, and the encoder of one event.

Source: the WHATWG HTML standard, "Server-sent events", parsing and interpreting an event stream.
"""

from __future__ import annotations

from typing import NamedTuple

from wegent.core.errors import InvalidPayload

_BOM = b"\xef\xbb\xbf"
_CR, _LF = 0x0D, 0x0A


class ServerSentEvent(NamedTuple):
    """One event. `data`: its lines joined by LF, as bytes, so that JSON is decoded without a detour."""

    data: bytes
    event: str = "message"
    id: str = ""

    @property
    def text(self) -> str:
        """The data as text; what is no UTF-8 becomes U+FFFD, as the standard says."""
        return self.data.decode("utf-8", "replace")


class EventParser:
    """Turns bytes, split anywhere, into events. Lines end with CR, LF or CRLF; a leading BOM is skipped.

    Bounded: holds at most one unfinished line and one unfinished event. What came last without the empty
    line that ends an event is no event.

    Attributes:
        retry: the reconnection time that the stream asked for last, in milliseconds.
    """

    __slots__ = (
        "_data", "_event", "_id", "_max_event", "_max_line", "_size", "_skip_lf", "_start", "_tail", "retry",
    )  # fmt: skip

    def __init__(self, *, max_line: int = 1 << 20, max_event: int = 4 << 20) -> None:
        self._max_line = max_line
        self._max_event = max_event
        self._tail = bytearray()
        self._start = True
        self._skip_lf = False
        self._data: list[bytes] = []
        self._size = 0
        self._event = ""
        self._id = ""
        self.retry: int | None = None

    @property
    def pending(self) -> bool:
        """Whether an event has begun and not ended, as in a stream that was cut."""
        return bool(self._data or self._tail)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Take what has arrived; return the events that it completes.

        Raises:
            InvalidPayload: a line or an event is over its limit. The parser is of no more use then.
        """
        if (events := self._plain(data)) is not None:
            return events
        if self._skip_lf and data:
            self._skip_lf = False
            if data[0] == _LF:
                data = data[1:]
        if self._start:
            held = self._without_bom(data)
            if held is None:
                return []
            data = held
        events = []
        for line in self._lines(data):
            self._take(line, events)
        return events

    def _plain(self, data: bytes) -> list[ServerSentEvent] | None:
        """The events of bytes that are nothing but whole ones of one line of data each, as most are; else None."""
        begun = self._tail or self._data or self._event or self._skip_lf or self._start
        if begun or not data.startswith(b"data: ") or not data.endswith(b"\n\n") or len(data) > self._max_line:
            return None
        each = data[6:-2].split(b"\n\ndata: ")
        if data.count(b"\n") != 2 * len(each) or b"\r" in data:
            return None
        return [ServerSentEvent(value, "message", self._id) for value in each]

    def _without_bom(self, data: bytes) -> bytes | None:
        """The stream's first bytes without a BOM; None while it can't be told yet whether there is one."""
        self._tail += data
        if len(self._tail) < len(_BOM) and _BOM.startswith(self._tail):
            return None
        first = bytes(self._tail.removeprefix(_BOM))
        self._tail.clear()
        self._start = False
        return first

    def _lines(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes; the rest waits in `_tail`."""
        lines = data.splitlines()
        if not lines:
            return []
        last = data[-1]
        self._skip_lf = last == _CR
        rest = b"" if last in (_CR, _LF) else lines.pop()
        if self._tail and lines:
            self._check_line(len(self._tail) + len(lines[0]))
            lines[0] = bytes(self._tail + lines[0])
            self._tail.clear()
        self._tail += rest
        self._check_line(len(self._tail))
        return lines

    def _check_line(self, size: int) -> None:
        if size > self._max_line:
            raise InvalidPayload(f"A line of the event stream is longer than {self._max_line} bytes.")

    def _take(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        self._check_line(len(line))
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max_event:
                raise InvalidPayload(f"An event of the stream is larger than {self._max_event} bytes.")
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(ServerSentEvent(data, self._event or "message", self._id))
            self._data = []
            self._size = 0
        self._event = ""


def encode_event(data: bytes, event: str | None = None) -> bytes:
    """One event as it goes over the wire. `data` may hold line ends of any kind; `event` must hold none."""
    lines = data.splitlines() or [b""]
    if data[-1:] in (b"\r", b"\n"):
        lines.append(b"")
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    return head + b"".join([b"data: " + line + b"\n" for line in lines]) + b"\n"
