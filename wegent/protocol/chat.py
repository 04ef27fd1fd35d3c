"""Sending, cancelling, retrying and resuming, and what a run says (protocol sections 3 and 4)."""

from datetime import datetime
from typing import Any, Literal, Self

from attrs import field, frozen

from wegent.protocol.blocks import App, Block
from wegent.protocol.correction import KeptCorrection
from wegent.protocol.fields import (
    COUNT,
    ID,
    IDS,
    JSON,
    NAME,
    PERCENT,
    SHORT,
    SOME,
    TEXT,
    FieldError,
    Variant,
    json_type,
)
from wegent.protocol.fields import Text as TextCheck
from wegent.protocol.limits import MAX_CLIENT_MESSAGE_ID, MAX_DEVICE_ID
from wegent.protocol.shape import to_wire
from wegent.protocol.status import ErrorType, IfRunning, OnLost, Role, RunReason, Status, TaskType


class Context(Variant):
    """Something that goes with a message for the model to read."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Choose by `type`; a type that is not built in is left to plugins (`OtherContext`)."""
        tag = value.get("type")
        if not isinstance(tag, str):
            raise FieldError("type", "the kind of context, a string", json_type(tag) if "type" in value else "nothing")
        known: dict[str, type[Any]] = {
            "attachment": AttachmentContext,
            "text": TextContext,
            "knowledge_base": KnowledgeBaseContext,
        }
        if found := known.get(tag):
            return found, value
        other: type[Any] = OtherContext
        return other, {"type": tag, "data": {key: item for key, item in value.items() if key != "type"}}


@frozen(kw_only=True)
class AttachmentContext(Context):
    """An attachment that was uploaded before."""

    type: Literal["attachment"] = "attachment"
    id: int = field(validator=ID)


@frozen(kw_only=True)
class TextContext(Context):
    """A text with its title."""

    type: Literal["text"] = "text"
    title: str = field(validator=SHORT)
    text: str = field(validator=TEXT)


@frozen(kw_only=True)
class KnowledgeBaseContext(Context):
    """A knowledge base."""

    type: Literal["knowledge_base"] = "knowledge_base"
    id: int = field(validator=ID)


@frozen(kw_only=True)
class OtherContext(Context):
    """A context of a type that a plugin may provide; INVALID_PAYLOAD if none does."""

    type: str = field(validator=NAME)
    data: dict[str, Any] = field(factory=dict, validator=JSON)

    def to_wire(self) -> dict[str, Any]:
        """Return the object as it came: its own fields beside `type`."""
        return {**self.data, "type": self.type}


@frozen(kw_only=True)
class ChatSend:
    """`chat:send`: a message of a user, to a task or to begin one."""

    task_id: int | None = field(default=None, validator=ID)
    team_id: int = field(validator=ID)
    message: str = field(validator=TEXT)
    title: str | None = field(default=None, validator=SHORT)
    client_message_id: str | None = field(default=None, validator=TextCheck(1, MAX_CLIENT_MESSAGE_ID))
    attachment_ids: tuple[int, ...] | None = field(default=None, validator=IDS)
    contexts: tuple[Context, ...] | None = field(default=None, validator=SOME)
    enable_deep_thinking: bool = True
    enable_web_search: bool = False
    force_override_bot_model: str | None = field(default=None, validator=NAME)
    is_group_chat: bool = False
    device_id: str | None = field(default=None, validator=TextCheck(1, MAX_DEVICE_ID))
    task_type: TaskType | None = None
    git_url: str | None = field(default=None, validator=TEXT)
    git_repo: str | None = field(default=None, validator=TEXT)
    branch_name: str | None = field(default=None, validator=SHORT)
    if_running: IfRunning = IfRunning.REJECT
    on_lost: OnLost | None = None


@frozen(kw_only=True)
class ChatSendAck:
    """Ack of `chat:send`; no `assistant_subtask_id` where no reply is due."""

    task_id: int
    subtask_id: int
    message_id: int
    assistant_subtask_id: int | None


@frozen(kw_only=True)
class ChatCancel:
    """`chat:cancel`: stop a run. `partial_content` is accepted and ignored: the log is the truth."""

    subtask_id: int = field(validator=ID)
    partial_content: str | None = None


@frozen(kw_only=True)
class ChatCancelAck:
    """Ack of `chat:cancel`, once CANCELLING is committed."""

    status: Status
    success: bool = True


@frozen(kw_only=True)
class ChatRetry:
    """`chat:retry`: a new attempt of a row that FAILED or was CANCELLED.

    With `use_model_override` the model is `force_override_bot_model`, or the bot's own where that is absent; without,
    it is the one that was asked for before.
    """

    task_id: int = field(validator=ID)
    subtask_id: int = field(validator=ID)
    force_override_bot_model: str | None = field(default=None, validator=NAME)
    use_model_override: bool = False
    if_running: IfRunning = IfRunning.REJECT


@frozen(kw_only=True)
class ChatRetryAck:
    """Ack of `chat:retry`."""

    attempt: int
    success: bool = True


@frozen(kw_only=True)
class ChatResume:
    """`chat:resume`: go on reading a run's text from a position."""

    task_id: int = field(validator=ID)
    subtask_id: int = field(validator=ID)
    attempt: int | None = field(default=None, validator=ID)
    offset: int = field(default=0, validator=COUNT)


@frozen(kw_only=True)
class ChatResumeAck:
    """Ack of `chat:resume`; `offset` is where the text that follows starts."""

    attempt: int
    offset: int
    status: Status
    success: bool = True


@frozen(kw_only=True)
class Sender:
    """Who sent a message; not necessarily the task's owner."""

    user_id: int
    user_name: str
    avatar: str | None = None


@frozen(kw_only=True)
class Attachment:
    """What is told of an attachment beside a message."""

    id: int
    name: str
    content_type: str
    size: int


@frozen(kw_only=True)
class Delta:
    """New text of a channel; `offset` counts the code points before it."""

    content: str
    offset: int


@frozen(kw_only=True)
class ChunkResult:
    """What changed beside the content; no field is a repetition."""

    thinking: Delta | None = None
    blocks: tuple[Block, ...] | None = None
    app: App | None = None
    progress: int | None = field(default=None, validator=PERCENT)


@frozen(kw_only=True)
class ChatChunk:
    """`chat:chunk`: a delta of a run. Unchecked and shaped by hand, for it is made once per delta."""

    task_id: int
    subtask_id: int
    attempt: int
    content: str
    offset: int
    result: ChunkResult | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the payload's object."""
        made: dict[str, Any] = {
            "task_id": self.task_id,
            "subtask_id": self.subtask_id,
            "attempt": self.attempt,
            "content": self.content,
            "offset": self.offset,
        }
        if self.result is not None:
            made["result"] = to_wire(self.result)
        return made


@frozen(kw_only=True)
class RunResult:
    """What a run left. `truncated`: `value` was cut to fit a frame, the rest comes by `chat:resume`."""

    value: str
    thinking: str | None = None
    blocks: tuple[Block, ...] | None = None
    workbench: dict[str, Any] | None = field(default=None, validator=JSON)
    app: App | None = None
    truncated: bool | None = None
    correction: KeptCorrection | None = None


@frozen(kw_only=True)
class ChatStart:
    """`chat:start`: an attempt begins; one greater than the client's empties text and values."""

    task_id: int
    subtask_id: int
    message_id: int
    attempt: int
    revision: int
    bot_name: str
    shell_type: str
    reason: RunReason | None = None


@frozen(kw_only=True)
class RunEnding:
    """What every ending of an attempt says; `offset` is the length of its text, and what was streamed is kept."""

    task_id: int
    subtask_id: int
    message_id: int
    attempt: int
    revision: int
    offset: int
    result: RunResult


@frozen(kw_only=True)
class ChatDone(RunEnding):
    """`chat:done`: an attempt COMPLETED."""


@frozen(kw_only=True)
class ChatError(RunEnding):
    """`chat:error`: an attempt FAILED."""

    error: str
    type: ErrorType


@frozen(kw_only=True)
class ChatCancelled(RunEnding):
    """`chat:cancelled`: an attempt was CANCELLED."""


@frozen(kw_only=True)
class ChatMessage:
    """`chat:message`: somebody else said something."""

    task_id: int
    subtask_id: int
    message_id: int
    revision: int
    client_message_id: str | None = None
    role: Role
    content: str
    sender: Sender
    contexts: tuple[dict[str, Any], ...]
    attachments: tuple[Attachment, ...]
    created_at: datetime
