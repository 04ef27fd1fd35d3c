"""What answers a chat: a model behind an API, or the built-in stand-in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from attrs import field, frozen

from wegent.core.ports.executor import Sink
from wegent.protocol.chat_shell import ResponseRequest


@frozen
class Completion:
    """How an answer ended: `stop_reason` as the provider named it, `usage` in tokens where it is told."""

    model: str
    stop_reason: str | None = None
    usage: dict[str, Any] = field(factory=dict)


class Engine(ABC):
    """Streams one answer into a sink. One instance serves many answers side by side.

    Deltas that arrive in one read are joined into one `sink.text` (backpressure: the sink's wait is what stops the
    engine from reading its provider). Cancelled: the provider's connection is closed before Cancelled goes on.

    Raises (from `run`):
        RunFailed: type `model` for a provider's refusal or breakage, `timeout` where it fell silent.
    """

    __slots__ = ()
    many: ClassVar[bool] = True

    @abstractmethod
    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        """Answer `request.messages` into the sink and return when the answer is whole."""
