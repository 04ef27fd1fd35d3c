"""Packets of Engine.IO 4, one by one as WebSocket messages and many in a long-polling payload, sans-IO.

A packet is its type and its data. As text it is a digit and the data; bytes travel as a binary WebSocket
message, or in a payload as `b` and base64. A payload is packets with U+001E between them.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from wegent.transports.socketio.values import PacketError, encode_json
from wegent.transports.ws.frames import BINARY as BINARY_FRAME
from wegent.transports.ws.frames import frame

OPEN: Final = 0
CLOSE: Final = 1
PING: Final = 2
PONG: Final = 3
MESSAGE: Final = 4
UPGRADE: Final = 5
NOOP: Final = 6
BINARY: Final = 7  # a message of bytes; has no digit on the wire

MAX_PACKETS: Final = 16384  # in one payload

SEPARATOR: Final = b"\x1e"

EnginePacket: TypeAlias = tuple[int, bytes]
"""Type and data; the data of all but BINARY is UTF-8."""


def encode_packet(kind: int, data: bytes = b"") -> bytes:
    """A packet as text; BINARY in its base64 form."""
    if kind == BINARY:
        return b"b" + b2a_base64(data, newline=False)
    return b"%d%b" % (kind, data)


def decode_packet(data: bytes) -> EnginePacket:
    """A packet from its text, which is valid UTF-8. Raises PacketError."""
    first = data[0] if data else 0
    if 48 <= first <= 54:
        return first - 48, data[1:]
    if first != 0x62:
        raise PacketError("The packet's type is unknown.")
    try:
        return BINARY, a2b_base64(data[1:], strict_mode=True)
    except Base64Error:
        raise PacketError("A binary packet is not valid base64.") from None


def encode_payload(packets: Iterable[EnginePacket]) -> bytes:
    """The body that carries these packets over long-polling."""
    return SEPARATOR.join([encode_packet(kind, data) for kind, data in packets])


def decode_payload(body: bytes, max_packets: int = MAX_PACKETS) -> list[EnginePacket]:
    """The packets of a long-polling body, at least one. Its size is limited by the caller. Raises PacketError."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise PacketError("The payload is not valid UTF-8.") from None
    if body.count(SEPARATOR) >= max_packets:
        raise PacketError(f"A payload holds at most {max_packets} packets.")
    return [decode_packet(part) for part in body.split(SEPARATOR)]


def open_packet(
    sid: str, upgrades: Sequence[str], ping_interval: float, ping_timeout: float, max_payload: int
) -> bytes:
    """The text of the packet that opens a session; times in seconds, `max_payload` in bytes."""
    return encode_packet(
        OPEN,
        encode_json(
            {
                "sid": sid,
                "upgrades": list(upgrades),
                "pingInterval": round(ping_interval * 1000),
                "pingTimeout": round(ping_timeout * 1000),
                "maxPayload": max_payload,
            }
        ),
    )


def message_frames(packet: Sequence[bytes]) -> bytes:
    """A Socket.IO packet, text first, as WebSocket frames in one piece: what a room's members share."""
    text = frame(b"4" + packet[0])
    if len(packet) == 1:
        return text
    return b"".join((text, *(frame(data, BINARY_FRAME) for data in packet[1:])))


def message_payload(packet: Sequence[bytes]) -> bytes:
    """The same as a payload; payloads are joined by SEPARATOR."""
    text = b"4" + packet[0]
    if len(packet) == 1:
        return text
    return SEPARATOR.join((text, *(encode_packet(BINARY, data) for data in packet[1:])))
