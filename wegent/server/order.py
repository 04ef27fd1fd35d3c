"""What was told last of each thing, so that nothing older is told after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
KEPT = 10_000
"""Things that are remembered; what is told out of order is told within moments."""


class Order(Generic[K]):
    """The latest stamp of each thing that has been told, of the things that were told of last.

    A stamp is a revision and what else grows with the thing. Commits come back from a store nearly in their order, and
    some are told a moment later still; a client takes what it hears last for what is so.
    """

    __slots__ = ("_kept", "_told")

    def __init__(self, kept: int = KEPT) -> None:
        self._told: OrderedDict[K, tuple[int, ...]] = OrderedDict()
        self._kept = kept

    def admits(self, thing: K, *stamp: int) -> bool:
        """Whether the thing may be told as of the stamp: nothing newer was. From now on it counts as told."""
        if self.is_past(thing, *stamp):
            return False
        self._told[thing] = stamp
        self._told.move_to_end(thing)
        if len(self._told) > self._kept:
            self._told.popitem(last=False)
        return True

    def is_past(self, thing: K, *stamp: int) -> bool:
        """Whether something newer than the stamp was told of the thing."""
        return self._told.get(thing, ()) > stamp
