"""Authentication: the connect payload, and the token's deadline (protocol section 2)."""

from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from wegent.protocol.codes import AuthCode
from wegent.protocol.fields import FILLED, TEXT


class Scope(StrEnum):
    """What a token is good for; one without a scope is refused."""

    USER = "user"
    DEVICE = "device"
    EXECUTOR = "executor"
    RUN = "run"


class ConnectRefusal(StrEnum):
    """Sentences with which a connection is refused."""

    MISSING = "Missing authentication token"
    INVALID = "Invalid or expired token"
    INACTIVE = "User is not active"
    SHUTTING_DOWN = "Server is shutting down"


@frozen(kw_only=True)
class ConnectAuth:
    """`auth` of a connect."""

    token: str | None = field(default=None, validator=TEXT)


@frozen(kw_only=True)
class AuthRefresh:
    """`auth:refresh`: moves the deadline of the connection to that of a new token of the same user."""

    token: str = field(validator=FILLED)


@frozen(kw_only=True)
class AuthRefreshAck:
    """Ack of `auth:refresh`."""

    expires_at: datetime
    success: bool = True


@frozen(kw_only=True)
class AuthError:
    """`auth:error`: the connection ends because its token does."""

    error: str
    code: AuthCode
