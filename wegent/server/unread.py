"""How much of a task somebody has not read yet (protocol §4, `task:updated`)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from wegent.protocol.limits import MAX_UNREAD
from wegent.server.ports.store import Unit
from wegent.server.records import Member, Task


def unread_of(unit: Unit, task: Task, member: Member) -> int:
    """Messages above what the member has read, `MAX_UNREAD` at most."""
    if member.last_read_message_id >= task.last_message_id:
        return 0
    return len(unit.message_ids(task.id, after=member.last_read_message_id, limit=MAX_UNREAD))


def unread_of_all(unit: Unit, task: Task) -> dict[int, int]:
    """The same of everybody in the task, by user."""
    members = unit.members(task.id)
    if not members:
        return {}
    least = min(member.last_read_message_id for member in members)
    ids = unit.message_ids(task.id, after=least, limit=MAX_UNREAD)
    return {each.user_id: len(ids) - bisect_right(ids, each.last_read_message_id) for each in members}


def unread_by_task(unit: Unit, user_id: int, tasks: Sequence[Task]) -> Mapping[int, int]:
    """What a user has not read of each task; of tasks in which they have no place nothing is counted."""
    places = unit.places(user_id, [task.id for task in tasks])
    return {task.id: unread_of(unit, task, places[task.id]) for task in tasks if task.id in places}
