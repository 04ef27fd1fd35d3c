"""Frames of the raw WebSocket transport, and close codes (protocol section 2)."""

from enum import IntEnum
from typing import Any, Self

from attrs import field, frozen

from wegent.protocol.codes import Code
from wegent.protocol.fields import COUNT, FILLED, FieldError, Text, Variant
from wegent.protocol.limits import MAX_NAME, PING_INTERVAL_S


class Close(IntEnum):
    """Close codes; those that ask to come back, and those that do not until something has changed."""

    OVERLOAD = 1013
    SHUTTING_DOWN = 4001
    SLOW_CONSUMER = 4008
    NO_PONG = 4012
    BAD_REQUEST = 4400
    NOT_AUTHENTICATED = 4401
    FORBIDDEN = 4403
    TOO_MANY_CONNECTIONS = 4429

    @property
    def come_back(self) -> bool:
        """Whether the client should connect again by itself."""
        return self < Close.BAD_REQUEST


class Frame(Variant):
    """One JSON object of a text frame, told by the field that only it has."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Choose by the distinguishing field."""
        known: dict[str, type[Any]] = {
            "event": EventFrame,
            "ack": AckFrame,
            "auth": AuthFrame,
            "ready": ReadyFrame,
            "error": ErrorFrame,
        }
        for name, found in known.items():
            if name in value:
                return found, value
        raise FieldError("event", "a frame with one of " + ", ".join(known), "none of them")


@frozen(kw_only=True)
class Credentials:
    """`auth` of the first frame."""

    token: str = field(validator=FILLED)


@frozen(kw_only=True)
class AuthFrame(Frame):
    """A client's first frame, unless `Authorization` came with the handshake."""

    auth: Credentials


@frozen(kw_only=True)
class Ready:
    """The session's id and the ping interval in seconds."""

    sid: str
    ping_interval: int = PING_INTERVAL_S


@frozen(kw_only=True)
class ReadyFrame(Frame):
    """The connection is accepted."""

    ready: Ready


@frozen(kw_only=True)
class EventFrame(Frame):
    """An event; with `id` an ack is wanted."""

    event: str = field(validator=Text(1, MAX_NAME))
    data: Any = None
    id: int | None = field(default=None, validator=COUNT)


@frozen(kw_only=True)
class AckFrame(Frame):
    """The ack of the event with that `id`."""

    ack: int = field(validator=COUNT)
    data: Any = None


@frozen(kw_only=True)
class ErrorFrame(Frame):
    """The connection is refused; a close follows."""

    error: str
    code: Code
