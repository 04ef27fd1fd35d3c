# ruff: noqa: N815 - the names are those of the protocol
"""The runner protocol, between the server and what runs in a process or a container (protocol section 7.2).

Text in a runner's messages is not checked: what is not valid Unicode becomes U+FFFD before it enters the log
(protocol section 1), instead of ending the run.
"""

from datetime import datetime
from typing import Any, Literal, Self

from attrs import field, frozen

from wegent.protocol.fields import COUNT, JSON, PERCENT, Variant, by_type
from wegent.protocol.jobs import Job
from wegent.protocol.status import BlockStatus


class RunnerCommand(Variant):
    """A line to the runner."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Choose by `type`."""
        return by_type(value, {"start": RunnerStart, "cancel": RunnerCancel, "skill": RunnerSkillAnswer}), value


@frozen(kw_only=True)
class RunnerStart(RunnerCommand):
    """Begin; the first line, sent once."""

    type: Literal["start"] = "start"
    job: Job


@frozen(kw_only=True)
class RunnerCancel(RunnerCommand):
    """Stop; signals follow if that takes too long."""

    type: Literal["cancel"] = "cancel"


@frozen(kw_only=True)
class RunnerSkillAnswer(RunnerCommand):
    """The answer to a `RunnerSkill` of the same `id`."""

    type: Literal["skill"] = "skill"
    id: str
    success: bool
    result: Any = None
    error: str | None = None


class RunnerMessage(Variant):
    """A line from the runner; also an item of `events` in a device's or a host's report."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Choose by `type`."""
        return by_type(value, _MESSAGES), value


@frozen(kw_only=True)
class RunnerChunk(RunnerMessage):
    """Text; with `offset`, the code points that the runner has said before it."""

    type: Literal["chunk"] = "chunk"
    content: str
    offset: int | None = field(default=None, validator=COUNT)


@frozen(kw_only=True)
class RunnerThinking(RunnerMessage):
    """Text of the thinking channel; `offset` as that of a chunk, in this channel."""

    type: Literal["thinking"] = "thinking"
    content: str
    offset: int | None = field(default=None, validator=COUNT)


@frozen(kw_only=True)
class RunnerBlock(RunnerMessage):
    """A block's fields beside the message's `type`; the server fills in those that are absent."""

    type: Literal["block"] = "block"
    id: str
    version: int | None = field(default=None, validator=COUNT)
    at: int | None = field(default=None, validator=COUNT)
    tool_name: str
    tool_input: Any = None
    tool_output: Any = None
    status: BlockStatus
    timestamp: datetime | None = None

    def fields(self) -> dict[str, Any]:
        """The fields that are there, as a sink takes them."""
        found = {name: getattr(self, name) for name in _BLOCK}
        return {name: value for name, value in found.items() if value is not None} | {"status": self.status.value}


@frozen(kw_only=True)
class RunnerProgress(RunnerMessage):
    """How far the run is, in percent."""

    type: Literal["progress"] = "progress"
    progress: int = field(validator=PERCENT)
    message: str | None = None


@frozen(kw_only=True)
class RunnerApp(RunnerMessage):
    """Something to look at."""

    type: Literal["app"] = "app"
    name: str
    address: str
    previewUrl: str


@frozen(kw_only=True)
class RunnerSkill(RunnerMessage):
    """A question to the members' clients, answered by `RunnerSkillAnswer`."""

    type: Literal["skill"] = "skill"
    id: str
    skill_name: str
    action: str
    data: Any = None


@frozen(kw_only=True)
class RunnerHeartbeat(RunnerMessage):
    """Still there."""

    type: Literal["heartbeat"] = "heartbeat"


@frozen(kw_only=True)
class ReportedResult:
    """What a run left, as told by who ran it; `value` is the whole text and must begin with the log's."""

    value: str | None = None
    thinking: str | None = None
    blocks: tuple[dict[str, Any], ...] | None = None
    workbench: dict[str, Any] | None = field(default=None, validator=JSON)
    app: dict[str, Any] | None = None


@frozen(kw_only=True)
class RunnerDone(RunnerMessage):
    """The run COMPLETED; the last line."""

    type: Literal["done"] = "done"
    result: ReportedResult | None = None


@frozen(kw_only=True)
class RunnerError(RunnerMessage):
    """The run FAILED; the last line. `type` is one of `ErrorType`, else it counts as `internal`."""

    type: Literal["error"] = "error"
    message: str
    error_type: str | None = None


_BLOCK = ("id", "version", "at", "tool_name", "tool_input", "tool_output", "timestamp")

_COMMANDS: dict[str, type[Any]] = {"start": RunnerStart, "cancel": RunnerCancel, "skill": RunnerSkillAnswer}

_MESSAGES: dict[str, type[Any]] = {
    "chunk": RunnerChunk,
    "thinking": RunnerThinking,
    "block": RunnerBlock,
    "progress": RunnerProgress,
    "app": RunnerApp,
    "skill": RunnerSkill,
    "heartbeat": RunnerHeartbeat,
    "done": RunnerDone,
    "error": RunnerError,
}
