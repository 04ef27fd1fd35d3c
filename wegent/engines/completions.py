"""The chat completions interface, without I/O: the request's body, and what the events of the reply mean."""

from __future__ import annotations

from typing import Any

import msgspec

from wegent.codec import encode
from wegent.engines.answer import Answer
from wegent.engines.failures import broken_off, message_of
from wegent.engines.sse import ServerSentEvent
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest, ToolDefinition

PATH = "/chat/completions"


def body_of(request: ResponseRequest, max_tokens: int | None = None) -> bytes:
    """The body of `POST /chat/completions`; an option set to null takes a field out that some server refuses.

    `max_tokens` holds where the request names no maximum.
    """
    model = request.model_config
    messages = [_message(message) for message in request.messages]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {
        "model": model.model_id,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": model.max_output_tokens or max_tokens,
        "tools": [_tool(tool) for tool in request.tools or ()] or None,
        **(model.options or {}),
    }
    return encode({name: value for name, value in body.items() if value is not None})


def _message(message: ModelMessage) -> dict[str, Any]:
    told = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        told["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        told["content"] = message.content or None
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return told


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": told}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: list[_Call] | None = None


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


class ChatAnswer(Answer):
    """Reads the events of one reply."""

    __slots__ = ()

    def take(self, event: ServerSentEvent) -> None:
        """See `Answer.take`."""
        data = event.data
        if self.ended or not data:
            return
        if data == b"[DONE]":
            self.ended = True
            return
        chunk = self._decoded(_decoder, _Chunk, event, "chat completion chunk")
        if chunk.error is not None or chunk.object == "error" or event.event == "error":
            error = {"message": chunk.message, "code": chunk.code} if chunk.error is None else chunk.error
            raise broken_off(self._host, *message_of(error), secret=self._secret)
        self._take_chunk(chunk)

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
        for call in delta.tool_calls or ():
            self._take_call(call)

    def _take_call(self, call: _Call) -> None:
        """Some servers number the pieces, some tell a new call by its id only, some number all of them 0."""
        key: int | str | None = call.index
        if key is None or (call.id and self.calls.id_of(key) not in ("", call.id)):
            key = call.id or self.calls.latest or 0
        told = call.function or _Function()
        self.calls.add(key, id=call.id or "", name=told.name or "", arguments=told.arguments or "")

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


answer_to = ChatAnswer
