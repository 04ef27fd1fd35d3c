"""How one kind of connection spells what it is sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Wire(ABC):
    """Spells messages as bytes, ready to be joined with others and written. One instance serves all connections of
    its kind: what goes to a room is spelled once per wire and shared. Pure; raises only for what JSON can't carry.
    """

    __slots__ = ()

    @abstractmethod
    def event(self, namespace: str, event: str, payload: Any, ack_id: int | None = None) -> bytes:
        """An event; with `ack_id` its receiver shall answer it."""

    def plain(self, namespace: str, event: str, payload: dict[str, Any]) -> bytes:
        """An event whose payload is known to be made of dicts, lists, strings and numbers: the way of deltas."""
        return self.event(namespace, event, payload)

    @abstractmethod
    def ack(self, namespace: str, ack_id: Any, payload: Any) -> bytes:
        """The answer to a client's event."""
