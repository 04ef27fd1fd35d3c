"""People who lost their place in a task are put out of its room (protocol §2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wegent.core.rooms import Rooms
from wegent.server.elsewhere import Elsewhere
from wegent.server.telling import CHAT, task_room


class Entering:
    """A call that will let a user into a task's room when its commit is there, unless they are put out meanwhile."""

    __slots__ = ("_refused", "user_id")

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self._refused: set[int] = set()

    def refuse(self, task_id: int) -> None:
        """Not into this one."""
        self._refused.add(task_id)

    def may_enter(self, task_id: int) -> bool:
        """Whether the user has kept their place since the call began."""
        return task_id not in self._refused


class Evictions:
    """Puts users out of task rooms.

    A send that was committed before its sender lost their place, and comes back after it, must not let them in again;
    so calls that let somebody in say so from before they ask the store (`entering`).
    """

    def __init__(self, rooms: Rooms, elsewhere: Elsewhere | None = None) -> None:
        self._rooms = rooms
        self._elsewhere = elsewhere
        self._entering: set[Entering] = set()

    def evict(self, task_id: int, user_id: int) -> None:
        """Put all connections of the user out of the task's room on every worker; here at once, those that are joining
        it as well.
        """
        self.evict_here(task_id, user_id)
        if self._elsewhere is not None:
            self._elsewhere.evict(task_id, user_id)

    def evict_here(self, task_id: int, user_id: int) -> None:
        """The same on this worker."""
        for entering in self._entering:
            if entering.user_id == user_id:
                entering.refuse(task_id)
        room = self._rooms.get(CHAT, task_room(task_id))
        for session in (*room.members(), *room.joining) if room is not None else ():
            if session.principal.user_id == user_id:
                self._rooms.leave(session, task_room(task_id))

    @contextmanager
    def entering(self, user_id: int) -> Iterator[Entering]:
        """While a call of this user is under way."""
        entry = Entering(user_id)
        self._entering.add(entry)
        try:
            yield entry
        finally:
            self._entering.discard(entry)
