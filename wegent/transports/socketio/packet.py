"""Packets of Socket.IO 5: `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`, sans-IO.

A packet is one text and, if bytes are nested in its data, one binary message for each of them. Encoders give
them as a list of bytes, the text first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import attrs

from wegent.transports.socketio.values import (
    PacketError,
    Slot,
    decode_json,
    encode_json,
    find_slots,
    holds_bytes,
    take_bytes,
)

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

MAX_SIZE: Final = 1_000_000  # bytes of a packet with its attachments
MAX_ATTACHMENTS: Final = 16
MAX_NAMESPACE: Final = 128  # bytes
MAX_ACK_DIGITS: Final = 15  # below 2^53, as JavaScript counts

_EVENT_HEAD: Final = re.compile(rb"2(?:(/[!-+\--~]{0,127}),)?([0-9]{1,15})?(?=\[)")  # of most packets
_DIGITS: Final = re.compile(rb"[0-9]*")

# Names that mean something else to the clients' own emitters.
RESERVED: Final = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)


@attrs.define  # not frozen, which would double the time that one takes to make
class Packet:
    """A packet as received, its attachments in their places.

    `kind` is one of CONNECT to CONNECT_ERROR: a binary event is an EVENT, a binary ack an ACK. `data` is of an
    EVENT the list of its name and arguments, of an ACK the list of arguments, of a CONNECT an object or None, of
    a CONNECT_ERROR an object or a string.
    """

    kind: int
    namespace: str
    data: Any
    ack_id: int | None


class Decoder:
    """Makes packets of one connection's messages, in the order they come.

    In namespaces of `loose` events and acks may hold halves of surrogate pairs.

    Raises PacketError for what breaks the protocol or a limit; unless the error names a namespace, nothing more
    may be fed. `max_size` is in bytes.
    """

    __slots__ = ("_attachments", "_loose", "_max_attachments", "_max_size", "_packet", "_room", "_slots", "waiting")

    def __init__(
        self, max_size: int = MAX_SIZE, max_attachments: int = MAX_ATTACHMENTS, loose: Collection[str] = ()
    ) -> None:
        self.waiting = 0
        """Attachments that are due before anything else may come; whoever has a clock should limit the wait."""
        self._max_size = max_size
        self._max_attachments = max_attachments
        self._loose = loose
        self._room = 0  # bytes that the attachments still may have
        self._packet: Packet | None = None  # complete but for them; None if it was refused
        self._slots: list[Slot] = []
        self._attachments: list[bytes] = []

    def text(self, data: bytes) -> Packet | None:
        """Take a text message; the packet, or None while attachments are due."""
        if self.waiting:
            raise PacketError("A text packet came while attachments were due.")
        if len(data) > self._max_size:
            raise PacketError(f"A packet holds at most {self._max_size} bytes.")
        head = _EVENT_HEAD.match(data)
        return self._any(data) if head is None else self._event(data, head)

    def _event(self, data: bytes, head: re.Match[bytes]) -> Packet:
        """What `_any` would make of an event without attachments, in half the time."""
        where, digits = head.groups()
        namespace = where.decode() if where else "/"
        ack_id = int(digits) if digits else None
        try:
            content = _content(EVENT, data[head.end() :], ack_id, loose=namespace in self._loose)
        except PacketError as error:
            error.namespace, error.ack_id = namespace, ack_id
            raise
        return Packet(EVENT, namespace, content, ack_id)

    def _any(self, data: bytes) -> Packet | None:
        kind: int = data[0] - 48 if data else -1
        if kind < CONNECT or kind > BINARY_ACK:
            raise PacketError("The packet's type is unknown.")
        binary = kind >= BINARY_EVENT
        count, position = 0, 1
        if binary:
            count, position = self._expect_attachments(data)
            kind -= 3
        namespace, position = _namespace(data, position)
        ack_id, position = _ack_id(data, position)
        try:
            content = _content(kind, data[position:], ack_id, loose=namespace in self._loose)
            if binary:
                self._slots = find_slots(content, count)
        except PacketError as error:
            if kind == EVENT:
                error.namespace, error.ack_id = namespace, ack_id
            raise
        packet = Packet(kind, namespace, content, ack_id)
        if not count:
            return packet
        self._packet = packet
        return None

    def binary(self, data: bytes) -> Packet | None:
        """Take a binary message; the packet that it completes, if it does."""
        if not self.waiting:
            raise PacketError("A binary message came that belongs to no packet.")
        self._room -= len(data)
        if self._room < 0:
            raise PacketError(f"A packet holds at most {self._max_size} bytes with its attachments.")
        self.waiting -= 1
        if self._slots:
            self._attachments.append(data)
        if self.waiting:
            return None
        for container, key, number in self._slots:
            container[key] = self._attachments[number]
        packet, self._packet = self._packet, None
        self._slots, self._attachments = [], []
        return packet

    def _expect_attachments(self, data: bytes) -> tuple[int, int]:
        dash = data.find(b"-", 1, 6)
        digits = data[1:dash] if dash > 0 else b""
        if not digits.isdigit():
            raise PacketError("A binary packet does not say how many attachments it has.")
        count = int(digits)
        if count > self._max_attachments:
            raise PacketError(f"A packet has at most {self._max_attachments} attachments.")
        self.waiting = count
        self._room = self._max_size - len(data)
        return count, dash + 1


def connect(namespace: str, data: Any = None) -> list[bytes]:
    """A CONNECT: from the server with `{"sid": …}`, from a client with its credentials."""
    return [_head(CONNECT, namespace) + (b"" if data is None else encode_json(data))]


def connect_error(namespace: str, data: Any) -> list[bytes]:
    """A CONNECT_ERROR; `data` is an object with a `message`. The client does not try again."""
    return [_head(CONNECT_ERROR, namespace) + encode_json(data)]


def disconnect(namespace: str) -> list[bytes]:
    """A DISCONNECT of one namespace. The stock client stays away after it."""
    return [_head(DISCONNECT, namespace)]


def event(namespace: str, name: str, args: Sequence[Any], ack_id: int | None = None) -> list[bytes]:
    """An EVENT with its arguments; with `ack_id` the receiver answers it.

    Arguments are what `encode_json` takes, its errors included; bytes at any depth become attachments.
    """
    return _with_attachments(EVENT, namespace, [name, *args], ack_id)


def ack(namespace: str, ack_id: int, args: Sequence[Any]) -> list[bytes]:
    """The ACK of an event, with the arguments of its callback. Errors as `event`."""
    return _with_attachments(ACK, namespace, list(args), ack_id)


def _with_attachments(kind: int, namespace: str, data: list[Any], ack_id: int | None) -> list[bytes]:
    head = _head(kind, namespace, ack_id)
    if not holds_bytes(data):
        return [head + encode_json(data)]
    data, attachments = take_bytes(data)
    return [b"%d%d-%b%b" % (kind + 3, len(attachments), head[1:], encode_json(data)), *attachments]


def _head(kind: int, namespace: str, ack_id: int | None = None) -> bytes:
    where = "" if namespace == "/" else f"{namespace},"
    return (f"{kind}{where}" if ack_id is None else f"{kind}{where}{ack_id}").encode()


def _namespace(data: bytes, position: int) -> tuple[str, int]:
    if data[position : position + 1] != b"/":
        return "/", position
    comma = data.find(b",", position, position + MAX_NAMESPACE + 1)
    end = len(data) if comma < 0 else comma
    if end - position > MAX_NAMESPACE:
        raise PacketError(f"A namespace has at most {MAX_NAMESPACE} bytes.")
    try:
        return data[position:end].decode(), end + 1
    except UnicodeDecodeError:
        raise PacketError("A namespace is not valid UTF-8.") from None


def _ack_id(data: bytes, position: int) -> tuple[int | None, int]:
    digits = _DIGITS.match(data, position, position + MAX_ACK_DIGITS + 1)
    assert digits is not None
    end = digits.end()
    if end - position > MAX_ACK_DIGITS:
        raise PacketError(f"An ack id has at most {MAX_ACK_DIGITS} digits.")
    return (int(data[position:end]) if end > position else None), end


def _content(kind: int, data: bytes, ack_id: int | None, *, loose: bool) -> Any:
    """The data of a packet, checked to be what its kind carries."""
    if kind == EVENT:
        value = decode_json(data, loose=loose)
        if type(value) is not list or not value or type(value[0]) is not str:
            raise PacketError("An event is an array that begins with its name.")
        if value[0] in RESERVED:
            raise PacketError("The name of the event is reserved.")
        return value
    if kind == ACK:
        value = decode_json(data, loose=loose)
        if type(value) is not list or ack_id is None:
            raise PacketError("An ack is an id and an array.")
        return value
    if ack_id is not None:
        raise PacketError("Only events and acks have an id.")
    return _about_connection(kind, data)


def _about_connection(kind: int, data: bytes) -> Any:
    if kind == DISCONNECT:
        if data:
            raise PacketError("A disconnect carries no data.")
        return None
    if kind == CONNECT:
        value = decode_json(data) if data else None
        if value is not None and type(value) is not dict:
            raise PacketError("A connect carries an object or nothing.")
        return value
    value = decode_json(data)
    if type(value) not in (dict, str):
        raise PacketError("A connect error carries an object or a string.")
    return value
