"""What a client may meet beside the server's own errors, and how an error payload becomes an exception again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wegent.core import errors
from wegent.core.errors import WegentError


class ConnectionLost(WegentError):
    """The connection ended before the answer came; whether the server did it, is not known."""

    code, retry = "CONNECTION_LOST", True


class Unreachable(WegentError):
    """Nobody answers at the address, or not as a Wegent server would."""

    code, retry = "UNREACHABLE", True


class Stranger(Unreachable):
    """What answers there is no Wegent server, or none that knows this; trying again changes nothing."""

    retry = False


class Timeout(WegentError):
    """No answer came in time; whether the server did it, is not known."""

    code, retry = "TIMEOUT", True


class Refused(WegentError):
    """The server refused with a code that this client doesn't know."""


_BY_CODE: dict[str, type[WegentError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidPayload,
        errors.NotAuthenticated,
        errors.TokenExpired,
        errors.AccessDenied,
        errors.NotFound,
        errors.Conflict,
        errors.TaskRunning,
        errors.LeaseLost,
        errors.Terminal,
        errors.DeviceOffline,
        errors.RateLimited,
        errors.Overloaded,
        errors.ShuttingDown,
        errors.Internal,
    )
}
_BY_CLOSE: dict[int, type[WegentError]] = {
    4400: errors.InvalidPayload,
    4401: errors.NotAuthenticated,
    4403: errors.AccessDenied,
    4429: errors.RateLimited,
}
DO_NOT_COME_BACK = frozenset(_BY_CLOSE)
"""Close codes after which a client stays away until something has changed (protocol §2)."""


def from_payload(payload: Mapping[str, Any]) -> WegentError:
    """The exception for `{"error", "code", …}` of an ack, an error frame or a REST body."""
    details = {str(key): value for key, value in payload.items() if key not in ("error", "code")}
    sentence = str(payload.get("error") or "The server gave no reason")
    code = payload.get("code")
    if code == errors.OffsetMismatch.code and isinstance(details.get("offset"), int):
        return errors.OffsetMismatch(
            sentence, offset=details["offset"], channel=str(details.get("channel") or "content")
        )
    return _BY_CODE.get(str(code), Refused)(sentence, **details)


def from_close(code: int, reason: str) -> WegentError:
    """The exception for a close code that says not to come back."""
    return _BY_CLOSE[code](reason or "The server closed the connection for good")
