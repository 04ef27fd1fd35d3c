"""The opening handshake: a request head in, a 101 or a refusal out (RFC 6455 §4, RFC 9112), sans-IO."""

from __future__ import annotations

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterable, Sequence
from hashlib import sha1
from http import HTTPStatus
from typing import Final, TypeAlias

from wegent.transports.ws.request import HandshakeError, Request, is_token

Headers: TypeAlias = Iterable[tuple[str, str]]

VERSION: Final = "13"
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def is_upgrade(request: Request) -> bool:
    """Whether the request asks for a WebSocket at all; `check_upgrade` says whether it does so correctly."""
    headers = request.headers
    return "websocket" in headers.tokens("upgrade") and "upgrade" in headers.tokens("connection")


def check_upgrade(request: Request) -> None:
    """Raise HandshakeError unless the request is a correct WebSocket upgrade (§4.2.1)."""
    headers = request.headers
    if request.method != "GET":
        raise HandshakeError(405, "A WebSocket is opened with GET.", (("Allow", "GET"),))
    if request.version != "1.1":
        raise HandshakeError(400, "A WebSocket is opened with HTTP/1.1.")
    if not is_upgrade(request):
        wanted = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
        raise HandshakeError(426, "This address speaks WebSocket: send an upgrade request.", wanted)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise HandshakeError(400, "A WebSocket upgrade has no body.")
    if headers.get_all("sec-websocket-version") != (VERSION,):
        raise HandshakeError(426, "The WebSocket version must be 13.", (("Sec-WebSocket-Version", VERSION),))
    key = headers.get("sec-websocket-key")
    if key is None:
        raise HandshakeError(400, "Header Sec-WebSocket-Key is missing.")
    if not _is_key(key):
        raise HandshakeError(400, "Header Sec-WebSocket-Key is not the base64 of 16 bytes.")


def subprotocols(request: Request) -> tuple[str, ...]:
    """The subprotocols that the client offers, in its order of preference. Raises HandshakeError (400)."""
    offered = request.headers.values_of("sec-websocket-protocol")
    if not all(map(is_token, offered)):
        raise HandshakeError(400, "Header Sec-WebSocket-Protocol is not a list of names.")
    return offered


def accept(request: Request, subprotocol: str | None = None, extra_headers: Headers = ()) -> bytes:
    """The 101 response that opens the connection.

    Raises HandshakeError when the request is no correct upgrade, ValueError when `subprotocol` was not
    offered or a header of ours would break the head. No extension is ever agreed on.
    """
    check_upgrade(request)
    lines = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(request.headers["sec-websocket-key"])),
    ]
    if subprotocol is not None:
        if subprotocol not in subprotocols(request):
            raise ValueError(f"the client did not offer the subprotocol {subprotocol!r}")
        lines.append(("Sec-WebSocket-Protocol", subprotocol))
    return response_head(101, [*lines, *extra_headers])


def refusal(status: int, reason: str, headers: Headers = (), body: bytes | None = None) -> bytes:
    """A complete response that says no, after which the connection is closed.

    `reason` is a sentence; it is the body, as text/plain, unless `body` is given (then its Content-Type is to
    be among `headers`). Raises ValueError when a header would break the head.
    """
    own = [("Connection", "close")]
    if body is None:
        body = (reason + "\n").encode("utf-8", "replace")
        own.append(("Content-Type", "text/plain; charset=utf-8"))
    given = list(headers)
    if any(name.lower() == "connection" for name, _ in given):
        del own[0]
    return response_head(status, [*own, ("Content-Length", str(len(body))), *given]) + body


def response_head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """Status line and headers, to the empty line. Raises ValueError for what would break the head."""
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    for name, value in headers:
        if not is_token(name) or not value.isprintable():
            raise ValueError(f"header {name!r} cannot be sent")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def accept_key(key: str) -> str:
    """The answer to Sec-WebSocket-Key (§4.2.2)."""
    return b64encode(sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()


def _is_key(key: str) -> bool:
    try:
        return len(a2b_base64(key, strict_mode=True)) == 16
    except (Base64Error, ValueError):
        return False


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
