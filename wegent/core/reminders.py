"""When the number of a topic's newest message is repeated, for those who missed the message itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from wegent.core.ports.fanout import Fanout

AFTER = (1.0, 2.0, 5.0, 15.0)
"""Seconds after the last message: more often than protocol §6 asks for, since nobody notices a lost reminder."""
MOST_TOPICS = 20_000


class Reminders:
    """What this worker has said on which topic, and how often it has repeated the number since."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self._said: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def said(self, topic: str) -> None:
        """A message has just been published."""
        self._said[topic] = (trio.current_time(), 0)
        self._said.move_to_end(topic)
        if len(self._said) > MOST_TOPICS:
            self._said.popitem(last=False)

    def repeat(self, busy: Iterable[str]) -> None:
        """Repeat what is due; of topics that are `busy` in any case. To be called each second."""
        now, busy = trio.current_time(), dict.fromkeys(busy)
        for topic in busy:
            self._fanout.remind(topic)
        for topic, (last, times) in list(self._said.items()):
            if now - last < AFTER[times]:
                continue
            if topic not in busy:
                self._fanout.remind(topic)
            if times + 1 < len(AFTER):
                self._said[topic] = (last, times + 1)
            else:
                del self._said[topic]
