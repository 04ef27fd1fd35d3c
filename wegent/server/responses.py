"""Runs as OpenAI's Responses API tells of them: one object, and the events by which it grows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from wegent.protocol.responses import response_id
from wegent.protocol.status import Status
from wegent.server.records import Subtask

_STATUS = {
    Status.PENDING: "queued",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
_ENDED = {"chat:done": "completed", "chat:error": "failed", "chat:cancelled": "incomplete"}


def response_object(row: Subtask, model: str, **more: Any) -> dict[str, Any]:
    """The response that a row is; `more` are fields that only its request knows."""
    status = _STATUS.get(Status(row.status), "in_progress")
    output = [_reasoning(row.id, row.thinking)] if row.thinking else []
    if row.content or status == "completed":
        output.append(_message(row.id, row.content, "completed" if status == "completed" else "incomplete"))
    error = {"code": "server_error", "message": row.error_message or "the run failed"} if status == "failed" else None
    return {**_head(row.id, row.created_at, model), "status": status, "error": error, "output": output, **more}


def _head(subtask_id: int, created_at: datetime, model: str) -> dict[str, Any]:
    return {
        "id": response_id(subtask_id),
        "object": "response",
        "created_at": int(created_at.timestamp()),
        "model": model,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "previous_response_id": None,
        "usage": None,
    }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(subtask_id: int, text: str | None, status: str) -> dict[str, Any]:
    content = [] if text is None else [_part(text)]
    return {"id": f"msg_{subtask_id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _reasoning(subtask_id: int, text: str | None) -> dict[str, Any]:
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    return {"id": f"rs_{subtask_id}", "type": "reasoning", "summary": [], "content": content}


class _Item:
    """An item of the output that grows."""

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.text = ""


class ResponseEvents:
    """Turns a run's events into a response's, in their order: `response.created`, items and their deltas, the end."""

    def __init__(self, row: Subtask, model: str, **more: Any) -> None:
        self._row = row
        self._response = {**_head(row.id, row.created_at, model), **more}
        self._items: dict[str, _Item] = {}
        self._number = -1
        self._attempt = row.attempt
        self.over = False

    def begin(self) -> Iterator[dict[str, Any]]:
        """What is told before anything has been said."""
        yield self._event("response.created", response=self._response)
        yield self._event("response.in_progress", response=self._response)

    def take(self, event: str, data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What an event of the run adds."""
        if data.get("attempt", self._attempt) > self._attempt and self._items:
            yield from self._fail("the run began again after it had said something; retrieve the response later")
        elif event == "chat:start":
            self._attempt = data["attempt"]
        elif event == "chat:chunk":
            if thinking := data.get("result", {}).get("thinking"):
                yield from self._delta("reasoning", thinking["content"])
            if data["content"]:
                yield from self._delta("message", data["content"])
        elif event == "chat:error":
            yield from self._fail(data["error"])
        elif event in _ENDED:
            yield from self._end(event)

    def _delta(self, kind: str, text: str) -> Iterator[dict[str, Any]]:
        if kind not in self._items:
            yield from self._open(kind)
        item = self._items[kind]
        item.text += text
        name = "output_text" if kind == "message" else "reasoning_text"
        logprobs: dict[str, Any] = {"logprobs": []} if kind == "message" else {}
        yield self._event(f"response.{name}.delta", **self._place(item), delta=text, **logprobs)

    def _open(self, kind: str) -> Iterator[dict[str, Any]]:
        item = self._items[kind] = _Item(len(self._items), kind)
        yield self._event("response.output_item.added", output_index=item.index, item=self._shown(item, None))
        part = _part("") if kind == "message" else {"type": "reasoning_text", "text": ""}
        yield self._event("response.content_part.added", **self._place(item), part=part)

    def _close(self, item: _Item, status: str) -> Iterator[dict[str, Any]]:
        message = item.kind == "message"
        name = "output_text" if message else "reasoning_text"
        logprobs: dict[str, Any] = {"logprobs": []} if message else {}
        yield self._event(f"response.{name}.done", **self._place(item), text=item.text, **logprobs)
        part = _part(item.text) if message else {"type": "reasoning_text", "text": item.text}
        yield self._event("response.content_part.done", **self._place(item), part=part)
        done = self._shown(item, item.text, status)
        yield self._event("response.output_item.done", output_index=item.index, item=done)

    def _end(self, event: str) -> Iterator[dict[str, Any]]:
        status = _ENDED[event]
        if status == "completed" and "message" not in self._items:
            yield from self._open("message")
        for item in self._items.values():
            yield from self._close(item, status)
        self.over = True
        output = [self._shown(item, item.text, status) for item in self._items.values()]
        # a cancelled run has no event of its own there
        self._response |= {"status": "cancelled" if event == "chat:cancelled" else status, "output": output}
        yield self._event(f"response.{status}", response=self._response)

    def _fail(self, sentence: str) -> Iterator[dict[str, Any]]:
        self.over = True
        output = [self._shown(item, item.text, "incomplete") for item in self._items.values()]
        error = {"code": "server_error", "message": sentence}
        self._response |= {"status": "failed", "error": error, "output": output}
        yield self._event("response.failed", response=self._response)

    def _shown(self, item: _Item, text: str | None, status: str = "in_progress") -> dict[str, Any]:
        if item.kind == "message":
            return _message(self._row.id, text, status)
        return _reasoning(self._row.id, text)

    def _place(self, item: _Item) -> dict[str, Any]:
        prefix = "msg" if item.kind == "message" else "rs"
        return {"item_id": f"{prefix}_{self._row.id}", "output_index": item.index, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number, **fields}
