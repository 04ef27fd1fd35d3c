"""What reads the events of one reply, whatever interface they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeVar

import msgspec

from wegent.codec import CodecError, decode_loose
from wegent.engines.calls import Calls
from wegent.engines.deltas import Deltas
from wegent.engines.failures import Refusal
from wegent.engines.sse import ServerSentEvent
from wegent.server.ports.engine import Completion

T = TypeVar("T")


class Answer(ABC):
    """Reads the events of one reply; without I/O.

    Attributes:
        deltas: what was said and not yet handed on.
        calls: the tools that the model wants used.
        ended: whether the provider said that nothing more is to be expected.
    """

    __slots__ = ("_host", "_model", "_secret", "_stop_reason", "_usage", "calls", "deltas", "ended")

    def __init__(self, host: str, model: str, secret: str | None) -> None:
        self._host = host
        self._model = model
        self._secret = secret
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self.deltas = Deltas()
        self.calls = Calls(host)
        self.ended = False

    @abstractmethod
    def take(self, event: ServerSentEvent) -> None:
        """Take one event.

        Raises:
            Refusal: it is an error, or nothing that can be understood.
        """

    @property
    def begun(self) -> bool:
        """Whether the model has said anything, if only that it wants a tool."""
        return self.deltas.begun or self.calls.begun

    @property
    def whole(self) -> bool:
        """Whether the provider has said that this was all; some say so by the reason only."""
        return self.ended or self._stop_reason is not None

    def completion(self) -> Completion:
        """How the reply ended, once its stream has.

        Raises:
            Refusal: it was cut off, or stopped by the provider's filter.
        """
        if self._stop_reason in ("content_filter", "refusal"):
            raise Refusal(f"The content filter of {self._host} stopped the answer. Put the question another way.")
        if not self.whole:
            raise Refusal(f"{self._host} closed the stream before the answer was whole. Try again.", passing=True)
        return Completion(self._model, self._stop_reason, self._usage, self._calls_to_make(), self._carried())

    def _calls_to_make(self) -> tuple[Any, ...]:
        """None where the answer was cut at its most tokens: a call may be half of one."""
        return () if self._stop_reason in ("length", "max_tokens", "max_output_tokens") else self.calls.made()

    def _carried(self) -> Any:
        """What the engine wants to have back with the outputs of the tools."""
        return None

    def _decoded(self, decoder: msgspec.json.Decoder[T], kind: type[T], event: ServerSentEvent, name: str) -> T:
        """Half a surrogate pair, and bytes that are no UTF-8, are the sink's to replace; all else is an error."""
        try:
            return decoder.decode(event.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        try:
            return msgspec.convert(decode_loose(event.text), kind)
        except (CodecError, msgspec.ValidationError, RecursionError) as error:
            raise Refusal(f"{self._host} sent something that is no {name}. Check the base URL.") from error
