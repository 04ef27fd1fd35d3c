"""The one error tree: each error has a stable code, whether to retry, an HTTP status and a WebSocket close code.

    WegentError
    ├── InvalidPayload      the caller must send something else
    ├── NotAuthenticated    no or no valid proof of who is asking
    │   └── TokenExpired
    ├── AccessDenied
    ├── NotFound
    ├── Conflict            the state does not allow it
    │   ├── TaskRunning
    │   ├── LeaseLost       the attempt belongs to somebody else now
    │   ├── OffsetMismatch  the text is longer or shorter than the caller believes
    │   ├── Outdated        the caller knows another version than the one that is there
    │   └── Terminal        the attempt has ended; a Sealed stream says the same of its log
    │       └── Sealed
    ├── DeviceOffline
    ├── RateLimited
    ├── Overloaded          come back later; includes a part that is away
    │   ├── StoreAway
    │   └── BrokerAway
    ├── ShuttingDown
    ├── RunFailed           a run's own failure, with the `type` that `chat:error` carries
    ├── ConfigError         the deployment is put together wrongly
    └── Internal

Foreign exceptions are mapped into this tree at the adapter's edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class WegentError(Exception):
    """Base of all errors that may be told to a client.

    `sentence` is safe to show: it names what was wrong and what would be right, and never holds a secret, a
    traceback or somebody else's data. `details` are further fields of the error as a client sees it.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011
    retry: ClassVar[bool] = False

    def __init__(self, sentence: str, /, **details: Any) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.details: Mapping[str, Any] = details

    def as_payload(self) -> dict[str, Any]:
        """The error as acks and REST bodies carry it: `{"error", "code", …details}` (protocol §1, law 9)."""
        return {"error": self.sentence, "code": self.code, **self.details}


class Internal(WegentError):
    """A defect of the server; the sentence tells nothing of its inside."""


class InvalidPayload(WegentError):
    """The payload, parameter or body is not what the call takes."""

    code, status, close_code = "INVALID_PAYLOAD", 400, 4400


class NotAuthenticated(WegentError):
    """No token, or none that is valid."""

    code, status, close_code = "NOT_AUTHENTICATED", 401, 4401


class TokenExpired(NotAuthenticated):
    """The token was good once."""

    code = "TOKEN_EXPIRED"


class AccessDenied(WegentError):
    """Known caller, but not theirs to do."""

    code, status, close_code = "ACCESS_DENIED", 403, 4403


class NotFound(WegentError):
    """No such thing, or none that the caller may know of."""

    code, status = "NOT_FOUND", 404


class Conflict(WegentError):
    """The thing is in a state that does not allow the call."""

    code, status = "CONFLICT", 409


class TaskRunning(Conflict):
    """The task has a run already (protocol §3, `if_running`)."""

    code = "TASK_RUNNING"


class LeaseLost(Conflict):
    """The attempt is no longer the caller's."""

    code = "LEASE_LOST"


class OffsetMismatch(Conflict):
    """A delta does not continue the log; `offset` is the channel's true length in code points.

    `channel` is told where it is not `content`.
    """

    code = "OFFSET_MISMATCH"

    def __init__(self, sentence: str, /, *, offset: int, channel: str = "content") -> None:
        super().__init__(sentence, offset=offset, **({} if channel == "content" else {"channel": channel}))
        self.offset = offset
        self.channel = channel


class Outdated(Conflict):
    """What is there is not the version that the caller named (RFC 9110 §13.1)."""

    status = 412


class Terminal(Conflict):
    """The attempt has ended."""

    code = "TERMINAL"


class Sealed(Terminal):
    """The stream's log takes no more entries."""


class DeviceOffline(WegentError):
    """The device is neither connected nor within its resume window."""

    code, status, retry = "DEVICE_OFFLINE", 409, True


class RateLimited(WegentError):
    """Too many calls; `retry_after` in `details`, in seconds, where it is known."""

    code, status, close_code, retry = "RATE_LIMITED", 429, 4429, True


class Overloaded(WegentError):
    """A limit of the server is reached, or something that it needs is away."""

    code, status, close_code, retry = "OVERLOADED", 503, 1013, True


class StoreAway(Overloaded):
    """The database does not answer (protocol §6.7)."""


class BrokerAway(Overloaded):
    """What the workers share beside the database (logs, fan-out, presence) does not answer (protocol §6.6)."""


class ShuttingDown(WegentError):
    """The server drains; another worker, or this one after its restart, will answer."""

    code, status, close_code, retry = "SHUTTING_DOWN", 503, 4001, True


class RunFailed(WegentError):
    """A run's own failure. `type` is one of `chat:error.type` (protocol §4)."""

    code = "INTERNAL"

    def __init__(self, sentence: str, /, *, type: str = "internal") -> None:
        super().__init__(sentence, type=type)
        self.type = type


class ConfigError(WegentError):
    """The configuration or the plugin graph is wrong; said before anything starts."""
