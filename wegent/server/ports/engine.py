"""What answers a chat: a model behind an API, or the built-in stand-in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from attrs import field, frozen

from wegent.core.ports.executor import Sink
from wegent.protocol.chat_shell import ResponseRequest, ToolCall


@frozen
class Completion:
    """How an answer ended: `stop_reason` as the provider named it, `usage` in tokens where it is told.

    With `tool_calls` it has not: whoever asked uses them and asks again, with the answer so far, its `tool_calls` and
    `carried` as one message and each output as another.
    """

    model: str
    stop_reason: str | None = None
    usage: dict[str, Any] = field(factory=dict)
    tool_calls: tuple[ToolCall, ...] = ()
    carried: Any = None


class Engine(ABC):
    """Streams one answer into a sink. One instance serves many answers side by side.

    Deltas that arrive in one read are joined into one `sink.text` (backpressure: the sink's wait is what stops the
    engine from reading its provider). Cancelled: the provider's connection is closed before Cancelled goes on.
    Of the tools in `request.tools` the model is told; using them is the caller's affair.

    Raises (from `run`):
        RunFailed: type `model` for a provider's refusal or breakage, `timeout` where it fell silent.
    """

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        """Answer `request.messages` into the sink and return when the answer is whole."""
