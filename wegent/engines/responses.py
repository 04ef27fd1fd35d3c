"""The responses interface, without I/O: the request's body, and what the events of the reply mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from wegent.codec import encode
from wegent.core.text import clean
from wegent.engines.answer import Answer
from wegent.engines.failures import Refusal, broken_off, message_of
from wegent.engines.sse import ServerSentEvent
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest

PATH = "/responses"


def body_of(request: ResponseRequest, max_tokens: int | None = None) -> bytes:
    """The body of `POST /responses`; an option set to null takes a field out that some server refuses.

    `max_tokens` holds where the request names no maximum. Nothing is to be kept at the provider.
    """
    model = request.model_config
    tools = [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in request.tools or ()
    ]
    body: dict[str, Any] = {
        "model": model.model_id,
        "instructions": request.system or None,
        "input": [item for message in request.messages for item in _items(message)],
        "stream": True,
        "store": False,
        "max_output_tokens": model.max_output_tokens or max_tokens,
        "tools": tools or None,
        **(model.options or {}),
    }
    return encode({name: value for name, value in body.items() if value is not None})


def _items(message: ModelMessage) -> Iterator[dict[str, Any]]:
    if message.tool_call_id is not None:
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
        return
    if isinstance(message.carried, list):
        yield from message.carried
    if message.content or not message.tool_calls:
        yield {"role": message.role, "content": message.content}
    for call in message.tool_calls or ():
        yield {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    encrypted_content: str | None = None
    summary: Any = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: int | None = None
    summary_index: int | None = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None
    message: Any = None
    code: Any = None


_decoder = msgspec.json.Decoder(_Event)
_TEXTS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})
_MOST_CARRIED = 1_000_000


class ResponsesAnswer(Answer):
    """Reads the events of one reply."""

    __slots__ = ("_reasoning", "_room")

    def __init__(self, host: str, model: str, secret: str | None) -> None:
        super().__init__(host, model, secret)
        self._reasoning: list[dict[str, Any]] = []
        self._room = _MOST_CARRIED

    def take(self, event: ServerSentEvent) -> None:
        """See `Answer.take`."""
        if self.ended or not event.data or event.data == b"[DONE]":
            return
        told = self._decoded(_decoder, _Event, event, "event of a response")
        kind = told.type or event.event
        if kind in _TEXTS:
            self.deltas.text(_text(told.delta))
        elif kind in _THOUGHTS:
            self.deltas.thinking(_text(told.delta))
        elif told.error is not None or kind == "error":
            error = {"message": told.message, "code": told.code} if told.error is None else told.error
            raise broken_off(self._host, *message_of(error), secret=self._secret)
        else:
            self._take_turn(kind, told)

    def _take_turn(self, kind: str, told: _Event) -> None:
        if kind == "response.reasoning_summary_part.added" and told.summary_index:
            self.deltas.thinking("\n\n")
        elif kind == "response.function_call_arguments.delta":
            self.calls.begun = True
        elif kind == "response.output_item.done" and told.item is not None:
            self._take_item(told.item, told.output_index)
        elif told.response is not None:
            self._take_response(kind, told.response)

    def _take_item(self, item: _Item, index: int | None) -> None:
        if item.type == "function_call" and item.name:
            key = item.call_id or item.id or index or 0
            self.calls.add(key, id=item.call_id or item.id or "", name=item.name, arguments=item.arguments or "")
        elif item.type == "reasoning" and item.encrypted_content:
            self._room -= len(item.encrypted_content)
            if self._room < 0:
                raise Refusal(f"{self._host} sent more of its reasoning than can be held.")
            told = {"id": clean(item.id or ""), "encrypted_content": clean(item.encrypted_content), "summary": []}
            self._reasoning.append({"type": "reasoning", **told})

    def _take_response(self, kind: str, response: _Response) -> None:
        self._model = response.model or self._model
        self._usage = response.usage or self._usage
        if kind == "response.completed":
            self._stop_reason, self.ended = "stop", True
        elif kind == "response.incomplete":
            details = response.incomplete_details or _Incomplete()
            self._stop_reason, self.ended = details.reason or "incomplete", True
        elif kind == "response.failed":
            raise broken_off(self._host, *message_of(response.error), secret=self._secret)

    def _carried(self) -> Any:
        return self._reasoning or None


def _text(delta: Any) -> str:
    return delta if isinstance(delta, str) else ""


answer_to = ResponsesAnswer
