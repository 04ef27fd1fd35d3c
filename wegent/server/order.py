"""What was told of tasks last, so that nothing older is told after it."""

from __future__ import annotations

from collections import OrderedDict

KEPT = 10_000
"""Tasks that are remembered; two commits of a task are told within moments of each other, if at all out of order."""


class Order:
    """The greatest revision of each task that has been told, of the tasks that were told of last."""

    __slots__ = ("_kept", "_told")

    def __init__(self, kept: int = KEPT) -> None:
        self._told: OrderedDict[int, int] = OrderedDict()
        self._kept = kept

    def admits(self, task_id: int, revision: int) -> bool:
        """Whether the revision may be told: nothing newer was. From now on it counts as told."""
        if self._told.get(task_id, 0) > revision:
            return False
        self._told[task_id] = revision
        self._told.move_to_end(task_id)
        if len(self._told) > self._kept:
            self._told.popitem(last=False)
        return True
