"""The Chat Shell: a model's answer as server-sent events (protocol section 9)."""

from enum import StrEnum
from typing import Any

from attrs import field, frozen

from wegent.protocol.fields import COUNT, FILLED, ID, JSON, NAME, SHORT, TEXT, TOOL_NAME, Whole


class ApiFormat(StrEnum):
    """Which interface of a model's server is spoken."""

    CHAT = "chat"
    RESPONSES = "responses"


UNNAMED = "default"
"""`model_id` where nobody named a model: the engine's own choice."""


@frozen(kw_only=True)
class ModelConfig:
    """Which model, where, how. `timeout` is in seconds; `options` goes to the model's server as it is."""

    model_id: str = field(validator=NAME)
    engine: str | None = field(default=None, validator=NAME)
    base_url: str | None = field(default=None, validator=FILLED)
    api_key: str | None = field(default=None, validator=FILLED, repr=False)
    api_format: ApiFormat = ApiFormat.CHAT
    max_output_tokens: int | None = field(default=None, validator=ID)
    timeout: float | None = None
    max_retries: int | None = field(default=None, validator=Whole(0, 100))
    options: dict[str, Any] | None = field(default=None, validator=JSON)


@frozen(kw_only=True)
class ToolCall:
    """A tool that a model wants used; `arguments` is JSON as the model wrote it, which may be none."""

    id: str
    name: str
    arguments: str


@frozen(kw_only=True)
class ModelMessage:
    """A message of the conversation; `content` is text, or a list of parts as the model's server takes it.

    Of an answer that used tools: `tool_calls`, and `carried`, which is the engine's own and is given back to it. Of
    the role `tool`: `tool_call_id` names the call that the content is the output of; `failed`: it is an error's words.
    """

    role: str = field(validator=NAME)
    content: Any = field(validator=JSON)
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    failed: bool | None = None
    carried: Any = field(default=None, validator=JSON)


@frozen(kw_only=True)
class ToolDefinition:
    """A tool as a model is told of it; `parameters` is a JSON Schema of an object."""

    name: str = field(validator=TOOL_NAME)
    description: str = field(default="", validator=TEXT)
    parameters: dict[str, Any] = field(factory=lambda: {"type": "object", "properties": {}}, validator=JSON)


@frozen(kw_only=True)
class Features:
    """What the answer may use."""

    deep_thinking: bool = False
    web_search: bool = False
    streaming: bool = True


@frozen(kw_only=True)
class ResponseMetadata:
    """Whose answer it is; `request_id` is what a cancel names."""

    request_id: str = field(validator=NAME)
    task_id: int | None = field(default=None, validator=ID)
    subtask_id: int | None = field(default=None, validator=ID)
    user_id: int | None = field(default=None, validator=ID)
    user_name: str | None = field(default=None, validator=SHORT)


@frozen(kw_only=True)
class ResponseRequest:
    """`POST /v1/response`."""

    model_config: ModelConfig
    messages: tuple[ModelMessage, ...]
    system: str | None = field(default=None, validator=TEXT)
    tools: tuple[ToolDefinition, ...] | None = None
    features: Features = field(factory=Features)
    metadata: ResponseMetadata
    stream: bool = True


@frozen(kw_only=True)
class ResponseCancel:
    """`POST /v1/response/cancel`."""

    request_id: str = field(validator=NAME)


@frozen(kw_only=True)
class ResponseStart:
    """`response.start`."""

    id: str
    model: str


@frozen(kw_only=True)
class ContentDelta:
    """`content.delta`."""

    text: str


@frozen(kw_only=True)
class ThinkingDelta:
    """`thinking.delta`."""

    text: str


@frozen(kw_only=True)
class ToolStart:
    """`tool.start`."""

    id: str
    name: str
    input: Any = None


@frozen(kw_only=True)
class ToolProgress:
    """`tool.progress`: what a tool has put out so far."""

    id: str
    output: Any = None


@frozen(kw_only=True)
class ToolDone:
    """`tool.done`; `error` is null when there was none."""

    id: str
    output: Any
    duration_ms: int = field(validator=COUNT)
    error: str | None


@frozen(kw_only=True)
class SourcesUpdate:
    """`sources.update`: what the answer rests on."""

    sources: tuple[Any, ...]


@frozen(kw_only=True)
class ResponseDone:
    """`response.done`: the answer is whole, or goes on when the asker has used the tools of `tool_calls`.

    The next request holds the answer so far, with `tool_calls` and `carried`, and a message of the role `tool` for
    each.
    """

    id: str
    usage: dict[str, Any] | None
    stop_reason: str | None
    tool_calls: tuple[ToolCall, ...] | None = None
    carried: Any = None


@frozen(kw_only=True)
class ResponseCancelled:
    """`response.cancelled`: stopped on request."""

    id: str
    partial_content: str


@frozen(kw_only=True)
class ResponseError:
    """`response.error`: no answer, or no more of it."""

    code: str
    message: str


ResponseEvent = (
    ResponseStart
    | ContentDelta
    | ThinkingDelta
    | ToolStart
    | ToolProgress
    | ToolDone
    | SourcesUpdate
    | ResponseDone
    | ResponseCancelled
    | ResponseError
)
