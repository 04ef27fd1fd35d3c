"""What the tests of a store begin with: people and tasks that no other test has."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from wegent.server.ports.store import Store, Unit
from wegent.server.records import Subtask, Task, User

NOON = datetime(2030, 1, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def unique(prefix: str) -> str:
    """A name that is taken nowhere, so that tests can share a database."""
    return f"{prefix}-{uuid.uuid4().hex[:16]}"


def user(unit: Unit) -> User:
    """A user of a new name."""
    return unit.add_user(unique("user"), password_hash=None)


def task(unit: Unit, owner: User, **fields: Any) -> Task:
    """An empty task."""
    return unit.add_task(owner_id=owner.id, team_id=1, team_name="Team", **{"title": "Talk", **fields})


def message(unit: Unit, of: Task, sender: User, **fields: Any) -> Subtask:
    """A further message, in a change of its own."""
    touched = unit.touch(of.id, messages=1)
    given = {"role": "USER", "status": "COMPLETED", **fields}
    return unit.add_subtask(task=touched, message_id=touched.last_message_id, sender_id=sender.id, **given)


def answer(unit: Unit, of: Task, sender: User, **fields: Any) -> Subtask:
    """A further ASSISTANT row, PENDING unless told otherwise."""
    return message(unit, of, sender, **{"role": "ASSISTANT", "status": "PENDING", **fields})


async def scene(store: Store, make: Callable[[Unit, User, Task], Any] | None = None) -> tuple[User, Task, Any]:
    """A user with a task, and what `make` adds to it, in one unit."""

    def work(unit: Unit) -> tuple[User, Task, Any]:
        owner = user(unit)
        made = task(unit, owner)
        return owner, made, None if make is None else make(unit, owner, made)

    return await store.write(work)
