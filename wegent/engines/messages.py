"""The Messages interface of Anthropic, without I/O: the request's body, and what the events of the reply mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from wegent.codec import CodecError, decode, encode
from wegent.core.text import clean
from wegent.engines.answer import Answer
from wegent.engines.failures import Refusal, broken_off, message_of
from wegent.engines.sse import ServerSentEvent
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest, ToolCall
from wegent.protocol.limits import MAX_STREAM

PATH = "/messages"
VERSION = "v1"


def body_of(request: ResponseRequest, max_tokens: int, thinking: Mapping[str, Any] | None = None) -> bytes:
    """The body of `POST /v1/messages`; an option set to null takes a field out that some server refuses.

    `max_tokens` holds where the request names no maximum; `thinking` where deep thinking is wanted.
    """
    model = request.model_config
    system = [request.system or "", *(_plain(each) for each in request.messages if each.role == "system")]
    tools = [
        {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
        for tool in request.tools or ()
    ]
    body: dict[str, Any] = {
        "model": model.model_id,
        "max_tokens": model.max_output_tokens or max_tokens,
        "system": "\n\n".join(text for text in system if text) or None,
        "messages": _turns(request.messages),
        "stream": True,
        "tools": tools or None,
        "thinking": dict(thinking) if thinking and request.features.deep_thinking else None,
        **(model.options or {}),
    }
    return encode({name: value for name, value in body.items() if value is not None})


def _plain(message: ModelMessage) -> str:
    return message.content if isinstance(message.content, str) else ""


def _turns(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
    """People and model in turn, as the interface wants it: what one says in a row is one message, a person begins."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = [] if message.role == "system" else _blocks(message)
        role = "assistant" if message.role == "assistant" else "user"
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": [{"type": "text", "text": "…"}]})
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"] += blocks
    return turns


def _blocks(message: ModelMessage) -> list[Any]:
    if message.tool_call_id is not None:
        told = {"tool_use_id": message.tool_call_id, "content": message.content, "is_error": bool(message.failed)}
        return [{"type": "tool_result", **told}]
    if message.tool_calls and isinstance(message.carried, list):
        return message.carried
    parts = message.content if isinstance(message.content, list | tuple) else _said(message.content)
    return [*parts, *(_use(call) for call in message.tool_calls or ())]


def _said(text: Any) -> list[Any]:
    return [{"type": "text", "text": text}] if isinstance(text, str) and text.strip() else []


def _use(call: ToolCall) -> dict[str, Any]:
    try:
        told = decode(call.arguments or "{}")
    except CodecError:
        told = None
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": told if isinstance(told, dict) else {}}


class _Part(msgspec.Struct, gc=False):
    """A block that starts, or a delta to one."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Message(msgspec.Struct, gc=False):
    model: str | None = None
    usage: dict[str, Any] | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    message: _Message | Any = None
    content_block: _Part | None = None
    delta: _Part | None = None
    usage: dict[str, Any] | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Event)


class MessagesAnswer(Answer):
    """Reads the events of one reply; keeps its blocks, which go back with the outputs of tools."""

    __slots__ = ("_blocks", "_room")

    def __init__(self, host: str, model: str, secret: str | None) -> None:
        super().__init__(host, model, secret)
        self._blocks: dict[int, _Block] = {}
        self._room = MAX_STREAM

    def take(self, event: ServerSentEvent) -> None:
        """See `Answer.take`."""
        if self.ended or not event.data:
            return
        told = self._decoded(_decoder, _Event, event, "event of a message")
        match told.type:
            case "content_block_delta" | "content_block_start":
                self._take_part(told.index, told.content_block or told.delta or _Part())
            case "message_start" if isinstance(told.message, Mapping):
                self._take_start(told.message)
            case "message_delta":
                self._usage.update(told.usage or {})
                self._stop_reason = (told.delta and told.delta.stop_reason) or self._stop_reason
            case "message_stop":
                self.ended = True
            case "error":
                raise broken_off(self._host, *message_of(told.error), secret=self._secret)

    def _take_start(self, message: Mapping[str, Any]) -> None:
        model, usage = message.get("model"), message.get("usage")
        self._model = model if isinstance(model, str) and model else self._model
        self._usage = dict(usage) if isinstance(usage, Mapping) else {}

    def _take_part(self, index: int, part: _Part) -> None:
        block = self._blocks.setdefault(index, _Block())
        self._room -= block.take(part)
        if self._room < 0 or len(self._blocks) > 1_000:
            raise Refusal(f"{self._host} sent more than can be held of one answer.")
        self.deltas.text(part.text or "")
        self.deltas.thinking(part.thinking or "")
        if block.type == "tool_use":
            self.calls.add(index, id=part.id or "", name=part.name or "", arguments=part.partial_json or "")

    def _carried(self) -> Any:
        if not self.calls.begun:
            return None
        calls = {call.id: call for call in self.calls.made()}
        told = [_use(calls[block.id]) if block.id in calls else block.told() for block in self._blocks.values()]
        return [each for each in told if each] or None


class _Block:
    """One block of an answer, growing."""

    __slots__ = ("_data", "_signature", "_text", "id", "type")

    def __init__(self) -> None:
        self.type = ""
        self.id = ""
        self._text: list[str] = []
        self._signature: list[str] = []
        self._data = ""

    def take(self, part: _Part) -> int:
        """Take its start or a delta; how much it grew by."""
        if not self.type and part.type:
            self.type, self.id, self._data = part.type, clean(part.id or ""), part.data or ""
        if text := part.text or part.thinking:
            self._text.append(text)
        if part.signature:
            self._signature.append(part.signature)
        return 1 + len(part.text or part.thinking or "") + len(part.signature or "") + len(part.data or "")

    def told(self) -> dict[str, Any] | None:
        """The block as it goes back; None where there is nothing of it."""
        text = clean("".join(self._text))
        if self.type == "redacted_thinking":
            return {"type": self.type, "data": clean(self._data)}
        if self.type == "thinking":
            return {"type": self.type, "thinking": text, "signature": clean("".join(self._signature))}
        return {"type": "text", "text": text} if self.type == "text" and text.strip() else None
