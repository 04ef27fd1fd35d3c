"""A topic that this worker listens to, for the sessions of a room."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum, auto

import trio

from wegent.core.order import Order

MOST_SENDERS = 256
"""Senders on one topic whose latest number is remembered."""


class Heard(Enum):
    """What a message's number says."""

    NEXT = auto()
    AGAIN = auto()
    GAP = auto()
    """Something before it is missing, or may be."""


class Following:
    """Numbers by sender, and for the room of a task the order of its events.

    `ready` is set once nothing is missed any more. `suspect`: something may be missing, and the rows are to be read.
    """

    __slots__ = (
        "_numbers",
        "heard_at",
        "idle_since",
        "members",
        "mending",
        "order",
        "ready",
        "room",
        "suspect",
        "task_id",
    )

    def __init__(self, room: str, task_id: int | None = None, order: Order | None = None) -> None:
        self.room = room
        self.task_id = task_id
        self.order = order
        self.ready = trio.Event()
        self.members: set[str] = set()
        """The namespaces in which this worker has members of the room."""
        self.idle_since = self.heard_at = trio.current_time()
        self.suspect = False
        self.mending = False
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def number(self, sender: str, number: int, now: float, *, reminder: bool) -> Heard:
        """Note the number of a message, or of one that is only repeated."""
        self.heard_at = now
        latest = self._numbers.get(sender)
        if latest is not None and number <= latest:
            return Heard.AGAIN
        self._numbers[sender] = number
        self._numbers.move_to_end(sender)
        if len(self._numbers) > MOST_SENDERS:
            self._numbers.popitem(last=False)
        expected = (latest or 0) + 1  # of a sender not heard before, nobody knows whether something came before this
        return Heard.NEXT if number == expected and not reminder else Heard.GAP
