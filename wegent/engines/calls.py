"""The tools that a model wants used, as they arrive in pieces."""

from __future__ import annotations

from wegent.core.text import clean
from wegent.engines.failures import Refusal
from wegent.protocol.chat_shell import ToolCall

MOST_CALLS = 64
"""Calls of one answer."""
MOST_ARGUMENTS = 1_000_000
"""Code points of the arguments of all calls of one answer."""


class Calls:
    """Collects calls by a key of the provider's, in the order in which they began.

    Attributes:
        begun: whether there is one.
    """

    __slots__ = ("_calls", "_host", "_left", "begun")

    def __init__(self, host: str) -> None:
        self._host = host
        self._calls: dict[int | str, tuple[str, str, list[str]]] = {}
        self._left = MOST_ARGUMENTS
        self.begun = False

    @property
    def latest(self) -> int | str | None:
        """The key of the call that began last."""
        return next(reversed(self._calls), None)

    def id_of(self, key: int | str) -> str:
        """The id of a call, empty while it has none."""
        return self._calls[key][0] if key in self._calls else ""

    def add(self, key: int | str, *, id: str = "", name: str = "", arguments: str = "") -> None:
        """Take a piece; `id` and `name` come with one of a call's pieces.

        Raises:
            Refusal: there are too many, or they are too long.
        """
        known_id, known_name, parts = self._calls.get(key, ("", "", []))
        self._left -= len(arguments) + len(name) + len(id)
        if arguments:
            parts.append(arguments)
        self._calls[key] = (known_id or id, known_name or name, parts)
        self.begun = True
        if len(self._calls) > MOST_CALLS or self._left < 0:
            raise Refusal(f"{self._host} wanted more of tools than can be held. Ask for less at once.")

    def made(self) -> tuple[ToolCall, ...]:
        """All calls that name a tool."""
        return tuple(
            ToolCall(id=clean(call_id) or f"call-{number}", name=clean(name), arguments=clean("".join(parts)))
            for number, (call_id, name, parts) in enumerate(self._calls.values(), 1)
            if name
        )
