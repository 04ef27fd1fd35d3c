"""How much of a task somebody has not read yet (protocol §4, `task:updated`)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from attrs import frozen

from wegent.protocol.limits import MAX_UNREAD
from wegent.server.ports.store import Unit
from wegent.server.records import Member, Task


@frozen
class Unread:
    """How much a user has not read of a task: `count` messages above `read`, the greatest message id they have read."""

    user_id: int
    read: int
    count: int


def unread_of(unit: Unit, task: Task, member: Member) -> Unread:
    """Messages above what the member has read, `MAX_UNREAD` at most."""
    read, count = member.last_read_message_id, 0
    if read < task.last_message_id:
        count = len(unit.message_ids(task.id, after=read, limit=MAX_UNREAD))
    return Unread(member.user_id, read, count)


def unread_of_all(unit: Unit, task: Task) -> tuple[Unread, ...]:
    """The same of everybody in the task."""
    places = {each.user_id: each.last_read_message_id for each in unit.members(task.id)}
    if not places:
        return ()
    ids = unit.message_ids(task.id, after=min(places.values()), limit=MAX_UNREAD)
    return tuple(Unread(user_id, read, len(ids) - bisect_right(ids, read)) for user_id, read in places.items())


def unread_by_task(unit: Unit, user_id: int, tasks: Sequence[Task]) -> Mapping[int, int]:
    """What a user has not read of each task; of tasks in which they have no place nothing is counted."""
    places = unit.places(user_id, [task.id for task in tasks])
    return {task.id: unread_of(unit, task, places[task.id]).count for task in tasks if task.id in places}
