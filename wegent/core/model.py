"""Values that pass between the kernel and its plugins."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from attrs import field, frozen

CONTENT = "content"
THINKING = "thinking"


class StreamId(NamedTuple):
    """One attempt's stream: every delta, value and ending of a run carries all three."""

    task_id: int
    subtask_id: int
    attempt: int


@frozen
class Principal:
    """Who a connection or a call speaks for. `expires_at` is wall time in seconds since the epoch, None: never."""

    user_id: int
    user_name: str
    scope: str = "user"
    token_id: str = ""
    expires_at: float | None = None
    claims: Mapping[str, Any] = field(factory=dict)


@frozen
class Position:
    """A place in a stream: attempt and offset, in code points (protocol §1)."""

    subtask_id: int
    attempt: int
    offset: int


@frozen
class Text:
    """A delta of one text channel; `offset` is the channel's length before it, in code points."""

    channel: str
    offset: int
    delta: str


@frozen
class Value:
    """A value of a stream; of one `key` the greatest `version` counts. `kind` is block, app or progress."""

    key: str
    version: int
    kind: str
    data: Mapping[str, Any]


Entry = Text | Value


@frozen
class Snapshot:
    """All that a stream holds: the text of each channel from `since` on (else from 0), every value newest."""

    texts: Mapping[str, str]
    values: tuple[Value, ...] = ()
    lengths: Mapping[str, int] = field(factory=dict)
    ending: Ending | None = None


class EndingStatus(StrEnum):
    """The three ways an attempt ends for good (protocol §5)."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@frozen
class Ending:
    """How an attempt ended. `error` and `error_type` belong to FAILED alone."""

    status: EndingStatus
    error: str | None = None
    error_type: str | None = None
    result: Mapping[str, Any] = field(factory=dict)


@frozen
class Outcome:
    """What an executor returns of a run that came to its own end; `result` is merged into the row's result."""

    result: Mapping[str, Any] = field(factory=dict)


@frozen
class Job:
    """One attempt to be run, claimed by `lease`.

    `spec` is what its executor is told (protocol §7.1), or the error that kept it from being put together; `about` is
    whatever the application wants to find again when it hears of the run. Both are opaque to the kernel. `traceparent`
    is the span that it is a part of.
    """

    task_id: int
    subtask_id: int
    message_id: int
    attempt: int
    revision: int
    lease: str
    target: str
    user_id: int
    spec: Any
    about: Any = None
    reason: str | None = None
    resume: Position | None = None
    traceparent: str | None = None

    @property
    def stream(self) -> StreamId:
        """The stream that this attempt writes."""
        return StreamId(self.task_id, self.subtask_id, self.attempt)
