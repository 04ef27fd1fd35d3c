"""Frames of RFC 6455: opcodes, close codes, and what a server sends.

A server's frames are not masked, so the bytes of one frame serve every member of a room.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005  # never on the wire: the peer's close frame was empty
ABNORMAL: Final = 1006  # never on the wire: the connection ended without a close frame
INVALID_TEXT: Final = 1007
TOO_BIG: Final = 1009

MAX_CONTROL: Final = 125  # bytes of payload (§5.5)
MAX_REASON: Final = MAX_CONTROL - 2

# §7.4.1 and the codes registered since; 3000 to 4999 belong to libraries and applications (§7.4.2).
_REGISTERED: Final = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))

_FIN: Final = 0x80
_OPCODES: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_SHORT_TEXT: Final = tuple(bytes((_FIN | TEXT, length)) for length in range(126))
_head16: Final = Struct("!BBH").pack
_head64: Final = Struct("!BBQ").pack


class ProtocolError(Exception):
    """The peer broke RFC 6455.

    `code` is the close code to answer with (1002, 1007 or 1009), `reason` a sentence of at most 123 bytes.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One complete, unmasked frame.

    Text must be valid UTF-8 already. Raises ValueError for an unknown opcode and for a control frame over
    125 bytes.
    """
    length = len(payload)
    if opcode == TEXT and length < 126:
        return _SHORT_TEXT[length] + payload
    return head(length, opcode) + payload


def head(length: int, opcode: int = TEXT) -> bytes:
    """The bytes before an unmasked payload of `length` bytes; for writers that join parts themselves."""
    if opcode not in _OPCODES:
        raise ValueError(f"opcode {opcode:#x} is not defined by RFC 6455")
    if length < 126:
        return bytes((_FIN | opcode, length))
    if opcode >= CLOSE:
        raise ValueError(f"a control frame holds at most {MAX_CONTROL} bytes, not {length}")
    if length < 65536:
        return _head16(_FIN | opcode, 126, length)
    return _head64(_FIN | opcode, 127, length)


def close_frame(code: int = NORMAL, reason: str = "") -> bytes:
    """A close frame; the reason is cut to 123 bytes between code points.

    Raises ValueError for a code that may not be sent. NO_STATUS gives a close frame without code and reason.
    """
    return frame(close_payload(code, reason), CLOSE)


def close_payload(code: int, reason: str = "") -> bytes:
    """The body of a close frame (§5.5.1); arguments and errors as `close_frame`."""
    if code == NO_STATUS:
        return b""
    if not is_close_code(code):
        raise ValueError(f"close code {code} may not be sent")
    text = reason.encode("utf-8", "replace")
    if len(text) > MAX_REASON:
        text = text[:MAX_REASON].decode("utf-8", "ignore").encode()
    return code.to_bytes(2, "big") + text


def parse_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a received close frame; (NO_STATUS, "") for an empty one.

    Raises ProtocolError: 1002 for half a code or one that may not be sent, 1007 for a reason not in UTF-8.
    """
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise ProtocolError(PROTOCOL_ERROR, "A close frame holds no byte or a code of two.")
    code = int.from_bytes(payload[:2], "big")
    if not is_close_code(code):
        raise ProtocolError(PROTOCOL_ERROR, f"Close code {code} may not be sent.")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_TEXT, "The reason of a close frame is not valid UTF-8.") from None


def is_close_code(code: int) -> bool:
    """Whether an endpoint may send `code` (§7.4)."""
    return code in _REGISTERED or 3000 <= code <= 4999
