"""The two ways that Socket.IO packets travel: as WebSocket frames, and as pieces of a long-polling payload."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from wegent.core.ports.wire import Wire
from wegent.protocol.shape import to_wire
from wegent.transports.socketio import packet
from wegent.transports.socketio.payload import (
    BINARY,
    SEPARATOR,
    decode_packet,
    message_frames,
    message_payload,
)
from wegent.transports.socketio.values import encode_json
from wegent.transports.ws import frame
from wegent.transports.ws.frames import BINARY as BINARY_FRAME

_SCALARS = frozenset((str, int, float, bool, type(None)))


class Args(tuple[Any, ...]):
    """Several arguments of one event or ack; a payload that is not of this class is the only argument."""

    __slots__ = ()


def args_of(payload: Any) -> list[Any]:
    """The arguments that a payload stands for."""
    return [to_wire(each) for each in payload] if isinstance(payload, Args) else [to_wire(payload)]


@lru_cache(1_024)
def _head(namespace: str, event: str) -> bytes:
    """An event's packet up to its only argument."""
    return packet.event(namespace, event, [0])[0].removesuffix(b"0]")


@lru_cache(1_024)
def _ack_head(namespace: str) -> bytes:
    """An ack's packet up to its id."""
    return packet.ack(namespace, 0, [])[0].removesuffix(b"0[]")


def _is_flat(payload: Any) -> bool:
    """Whether it is an object of strings and numbers, in which nothing need be looked for: most are."""
    return type(payload) is dict and _SCALARS.issuperset(map(type, payload.values()))


class SocketIOWire(Wire):
    """Spells events and acks as packets; subclasses say how packets and engine packets become bytes."""

    __slots__ = ()

    def event(self, namespace: str, event: str, payload: Any, ack_id: int | None = None) -> bytes:
        """An EVENT packet."""
        if ack_id is None and _is_flat(payload):
            return self.plain(namespace, event, payload)
        return self.message(packet.event(namespace, event, args_of(payload), ack_id))

    def plain(self, namespace: str, event: str, payload: dict[str, Any]) -> bytes:
        """The same packet, with no look for bytes or payload objects."""
        return self.text(b"%b%b]" % (_head(namespace, event), encode_json(payload)))

    def ack(self, namespace: str, ack_id: Any, payload: Any) -> bytes:
        """An ACK packet."""
        if _is_flat(payload):
            return self.text(b"%b%d[%b]" % (_ack_head(namespace), ack_id, encode_json(payload)))
        return self.message(packet.ack(namespace, ack_id, args_of(payload)))

    @abstractmethod
    def message(self, packets: Sequence[bytes]) -> bytes:
        """A Socket.IO packet, text first."""

    @abstractmethod
    def text(self, packet: bytes) -> bytes:
        """One without attachments."""

    @abstractmethod
    def engine(self, text: bytes) -> bytes:
        """An Engine.IO packet given as text."""


class FrameWire(SocketIOWire):
    """WebSocket frames."""

    __slots__ = ()

    def message(self, packets: Sequence[bytes]) -> bytes:
        """Frames in one piece."""
        return message_frames(packets)

    def text(self, packet: bytes) -> bytes:
        """One frame."""
        return frame(b"4" + packet)

    def engine(self, text: bytes) -> bytes:
        """One frame."""
        return frame(text)


class PayloadWire(SocketIOWire):
    """Pieces of a long-polling payload, to be joined by SEPARATOR."""

    __slots__ = ()

    def message(self, packets: Sequence[bytes]) -> bytes:
        """A piece."""
        return message_payload(packets)

    def text(self, packet: bytes) -> bytes:
        """A piece."""
        return b"4" + packet

    def engine(self, text: bytes) -> bytes:
        """A piece."""
        return text


FRAMES = FrameWire()
PAYLOADS = PayloadWire()


def piece_as_frames(piece: bytes) -> bytes:
    """What was spelled for a payload, as frames: for an upgrade that finds it still waiting."""
    frames = []
    for text in piece.split(SEPARATOR):
        kind, data = decode_packet(text)
        frames.append(frame(data, BINARY_FRAME) if kind == BINARY else frame(text))
    return b"".join(frames)
