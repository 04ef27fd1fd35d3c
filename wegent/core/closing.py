"""Why a connection is closed, and whether its client should come back (protocol §2)."""

from __future__ import annotations

from attrs import frozen


@frozen
class Close:
    """`code` is the close code of the raw WebSocket; other transports say `come_back` in their own way."""

    code: int
    reason: str
    come_back: bool


SHUTTING_DOWN = Close(4001, "Server is shutting down", come_back=True)
SLOW = Close(4008, "Slow consumer", come_back=True)
NO_PONG = Close(4012, "No pong", come_back=True)
BROKEN = Close(1011, "Something went wrong in the server", come_back=True)
OVERLOAD = Close(1013, "Overload", come_back=True)
BAD_REQUEST = Close(4400, "Bad request", come_back=False)
UNAUTHENTICATED = Close(4401, "Invalid or expired token", come_back=False)
EXPIRED = Close(4401, "Token expired", come_back=False)
REVOKED = Close(4401, "Token revoked", come_back=False)
FORBIDDEN = Close(4403, "Forbidden", come_back=False)
TOO_MANY = Close(4429, "Too many connections", come_back=False)
