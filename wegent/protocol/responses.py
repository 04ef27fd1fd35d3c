"""What of OpenAI's Responses API a team answers to."""

from __future__ import annotations

from typing import Any, Self

from attrs import field, frozen

from wegent.protocol.fields import FILLED, JSON, NAME, TEXT, AtMost, FieldError, Variant
from wegent.protocol.limits import MAX_LIST

ROLES = ("user", "assistant", "system", "developer")


class InputItem(Variant):
    """An item of a conversation."""

    __slots__ = ()

    @classmethod
    def read(cls, value: dict[str, Any]) -> tuple[type[Self], dict[str, Any]]:
        """Messages are read; others, such as tool calls, are none of ours."""
        kind: type[Any] = InputMessage
        if value.get("type", "message") != "message":
            raise FieldError("type", "message", "an item of another type")
        return kind, {"role": value.get("role"), "content": _content(value.get("content"))}


@frozen(kw_only=True)
class InputMessage(InputItem):
    """Something that somebody said."""

    role: str = field()
    content: str = field(validator=TEXT)

    @role.validator
    def _check_role(self, _: Any, role: str) -> None:
        if role not in ROLES:
            raise FieldError("role", "one of " + ", ".join(ROLES), "something else")


def _content(content: Any) -> Any:
    """Text, or the texts of its parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("input_text", "output_text", "text") or not isinstance(part.get("text"), str):
            raise FieldError("content", "text, or parts of type input_text or output_text", "another part")
        texts.append(part["text"])
    return "\n".join(texts)


@frozen(kw_only=True)
class ResponseRequest:
    """`POST /responses`. `model` names a team, `NAMESPACE#TEAM` or `TEAM`.

    What a team decides by itself (temperature, top_p, …) may be sent, and changes nothing.
    """

    model: str = field(validator=NAME)
    input: str | tuple[InputItem, ...] = field()
    instructions: str | None = field(default=None, validator=TEXT)
    previous_response_id: str | None = field(default=None, validator=NAME)
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, Any] | None = field(default=None, validator=JSON)
    tools: tuple[dict[str, Any], ...] | None = field(default=None, validator=AtMost())
    text: dict[str, Any] | None = field(default=None, validator=JSON)
    conversation: Any = field(default=None, validator=JSON)
    prompt: Any = field(default=None, validator=JSON)

    @input.validator  # noqa: A003 - the field's name is given
    def _check_input(self, attribute: Any, value: Any) -> None:
        if isinstance(value, str):
            FILLED(self, attribute, value)
        elif not 0 < len(value) <= MAX_LIST:
            raise FieldError("input", f"text, or 1 to {MAX_LIST} messages", f"{len(value)} items")
        elif value[-1].role != "user":
            raise FieldError("input", "the last message to be of role user", f"one of role {value[-1].role}")


def response_id(subtask_id: int) -> str:
    """The id of the response that a run gives."""
    return f"resp_{subtask_id}"
