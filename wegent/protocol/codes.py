"""The codes that refusals carry, and the ack that carries them (protocol section 1, law 9)."""

from enum import StrEnum

from attrs import frozen

from wegent.protocol.status import Status


class Code(StrEnum):
    """Why a request was refused; stable, for programs. The sentence beside it is for people."""

    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    NOT_AUTHENTICATED = "NOT_AUTHENTICATED"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - the name of a code
    ACCESS_DENIED = "ACCESS_DENIED"
    NOT_FOUND = "NOT_FOUND"
    CONFLICT = "CONFLICT"
    TASK_RUNNING = "TASK_RUNNING"
    DEVICE_OFFLINE = "DEVICE_OFFLINE"
    LEASE_LOST = "LEASE_LOST"
    OFFSET_MISMATCH = "OFFSET_MISMATCH"
    TERMINAL = "TERMINAL"
    RATE_LIMITED = "RATE_LIMITED"
    OVERLOADED = "OVERLOADED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"


class AuthCode(StrEnum):
    """Codes of `auth:error`."""

    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - the name of a code
    INVALID_TOKEN = "INVALID_TOKEN"  # noqa: S105 - the name of a code


@frozen
class Refusal:
    """The ack, or the REST body, of a request that failed.

    `offset` comes with OFFSET_MISMATCH: where the log ends. `status` comes with TERMINAL.
    """

    error: str
    code: Code
    offset: int | None = None
    status: Status | None = None
