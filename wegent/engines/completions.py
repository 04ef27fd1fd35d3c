"""The chat completions interface, without I/O: the request's body, and what the events of the reply mean."""

from __future__ import annotations

from typing import Any

import msgspec

from wegent.codec import CodecError, decode_loose, encode
from wegent.engines.deltas import Deltas
from wegent.engines.failures import Refusal, broken_off, message_of
from wegent.engines.sse import ServerSentEvent
from wegent.protocol.chat_shell import ResponseRequest
from wegent.server.ports.engine import Completion

PATH = "/chat/completions"


def body_of(request: ResponseRequest, max_tokens: int | None = None) -> bytes:
    """The body of `POST /chat/completions`; an option set to null takes a field out that some server refuses.

    `max_tokens` holds where the request names no maximum.
    """
    model = request.model_config
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {
        "model": model.model_id,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": model.max_output_tokens or max_tokens,
        **(model.options or {}),
    }
    return encode({name: value for name, value in body.items() if value is not None})


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None
    index: int | None = 0


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    code: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


class Answer:
    """Reads the events of one reply.

    Attributes:
        deltas: what was said and not yet handed on.
        ended: whether the provider said `[DONE]`; nothing is to be expected after it.
    """

    __slots__ = ("_host", "_model", "_secret", "_stop_reason", "_usage", "deltas", "ended")

    def __init__(self, host: str, model: str, secret: str | None) -> None:
        self._host = host
        self._model = model
        self._secret = secret
        self._stop_reason: str | None = None
        self._usage: dict[str, Any] = {}
        self.deltas = Deltas()
        self.ended = False

    def take(self, event: ServerSentEvent) -> None:
        """Take one event.

        Raises:
            Refusal: it is an error, or nothing that can be understood.
        """
        data = event.data
        if self.ended or not data:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        try:
            chunk = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            chunk = self._decode_leniently(event)
        if chunk.error is not None or chunk.object == "error" or event.event == "error":
            error = {"message": chunk.message, "code": chunk.code} if chunk.error is None else chunk.error
            raise broken_off(self._host, *message_of(error), secret=self._secret)
        self._take_chunk(chunk)

    def _decode_leniently(self, event: ServerSentEvent) -> _Chunk:
        """Half a surrogate pair, and bytes that are no UTF-8, are the sink's to replace; all else is an error."""
        try:
            return msgspec.convert(decode_loose(event.text), _Chunk)
        except (CodecError, msgspec.ValidationError, RecursionError) as error:
            raise Refusal(
                f"{self._host} sent something that is no chat completion chunk. Check the base URL."
            ) from error

    def _take_chunk(self, chunk: _Chunk) -> None:
        if chunk.model:
            self._model = chunk.model
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.index:
                continue
            delta = choice.delta
            if delta is not None:
                self._take_delta(delta)
            if choice.finish_reason:
                self._stop_reason = choice.finish_reason

    def _take_delta(self, delta: _Delta) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if isinstance(thought, str):
            self.deltas.thinking(thought)
        content = delta.content or delta.refusal
        if isinstance(content, str):
            self.deltas.text(content)
        elif isinstance(content, list):
            for part in content:
                self._take_part(part)

    def _take_part(self, part: Any) -> None:
        if not isinstance(part, dict):
            return
        inner = part.get("thinking")
        if isinstance(inner, list):
            texts = [item.get("text") for item in inner if isinstance(item, dict)]
            self.deltas.thinking("".join(text for text in texts if isinstance(text, str)))
        elif isinstance(inner, str):
            self.deltas.thinking(inner)
        elif isinstance(text := part.get("text"), str):
            self.deltas.text(text)

    @property
    def whole(self) -> bool:
        """Whether the provider has said that this was all; some say so by the reason only, some by `[DONE]`."""
        return self.ended or self._stop_reason is not None

    def completion(self) -> Completion:
        """How the reply ended, once its stream has.

        Raises:
            Refusal: it was cut off, or stopped by the provider's filter.
        """
        if self._stop_reason == "content_filter":
            raise Refusal(f"The content filter of {self._host} stopped the answer. Put the question another way.")
        if not self.whole:
            raise Refusal(f"{self._host} closed the stream before the answer was whole. Try again.", passing=True)
        return Completion(self._model, self._stop_reason, self._usage)
