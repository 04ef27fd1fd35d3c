"""The client's side of RFC 6455, sans-IO: for load generators and tests.

What the server sends is read with `Decoder(limit, masked=False)`.
"""

from __future__ import annotations

import os
from base64 import b64encode

from wegent.transports.ws.frames import TEXT, head
from wegent.transports.ws.handshake import Headers, accept_key
from wegent.transports.ws.masking import apply_mask
from wegent.transports.ws.request import HandshakeError, is_token


def new_key() -> str:
    """A fresh Sec-WebSocket-Key."""
    return b64encode(os.urandom(16)).decode()


def upgrade_request(host: str, target: str, key: str, extra_headers: Headers = ()) -> bytes:
    """The request that asks for a WebSocket. Raises ValueError for what would break the head."""
    headers = [
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
        *extra_headers,
    ]
    if not target.isprintable() or " " in target:
        raise ValueError(f"target {target!r} cannot be sent")
    if not all(is_token(name) and value.isprintable() for name, value in headers):
        raise ValueError("a header cannot be sent")
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def check_response(head: bytes, key: str) -> None:
    """Raise HandshakeError, with the server's status, unless the response head opens the connection."""
    status_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    status = status_line.split(" ")[1:2]
    if not status or not (status[0].isascii() and status[0].isdigit()):
        raise HandshakeError(502, "The server does not answer with HTTP.")
    if status[0] != "101":
        raise HandshakeError(int(status[0]), f"The server refused: {status_line}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("sec-websocket-accept") != accept_key(key):
        raise HandshakeError(502, "The server's Sec-WebSocket-Accept does not belong to the key.")


def masked_frame(payload: bytes, opcode: int = TEXT, mask: bytes | None = None) -> bytes:
    """One complete frame as a client sends it; `mask` is four bytes, random if None. Errors as `frame`."""
    if mask is None:
        mask = os.urandom(4)
    start = head(len(payload), opcode)
    return b"".join((start[:1], bytes((start[1] | 0x80,)), start[2:], mask, apply_mask(payload, mask)))
