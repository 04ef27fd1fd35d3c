"""The numbers of one sender's messages."""

from __future__ import annotations

from collections import OrderedDict

TOPICS = 20_000
"""Topics whose latest number is remembered."""


class Numbers:
    """Counts by topic. The topics longest silent are forgotten: what they get next is above all numbers forgotten,
    so that a number never comes twice; it shows as a gap where there was none, which costs a look.
    """

    def __init__(self, most: int = TOPICS) -> None:
        self._most = most
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._floor = 0

    def take(self, topic: str) -> int:
        """The number of the next message."""
        latest = self._latest
        number = latest[topic] = latest.get(topic, self._floor) + 1
        latest.move_to_end(topic)
        if len(latest) > self._most:
            self._floor = max(self._floor, latest.popitem(last=False)[1])
        return number

    def latest(self, topic: str) -> int | None:
        """The number of the latest message, if it is remembered."""
        return self._latest.get(topic)
