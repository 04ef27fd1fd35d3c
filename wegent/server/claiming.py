"""Taking waiting rows out of the queue, as a unit of the store (protocol §7)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from wegent.core.errors import WegentError
from wegent.core.model import Job
from wegent.protocol.status import Status
from wegent.server.owners import is_remote
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask, Task, Waiting
from wegent.server.status import TaskView, settle

SpecOf = Callable[[Unit, Task, Subtask], Any]
"""Puts together what an executor is told of a task's row; raises `WegentError` where that can't be done."""
OwnerOf = Callable[[int, int], str]
"""The owner of a row's attempt that is claimed: `owner_of(subtask_id, attempt)`."""
MAX_PER_USER = 10


@frozen
class Claimed:
    """A row as its claim left it, with its task; `waited` is how many seconds it stood in the queue."""

    row: Subtask
    view: TaskView
    waited: float


@frozen
class Claim:
    """What somebody would take.

    `limits` says how many rows of each target at most, `limit` how many of all together. `owner` is who holds them: a
    name, or a function that gives each attempt an owner of its own. With `slots` an owner with a name holds no more
    than that many rows afterwards. `released` are rows that may be taken before they are claimable by themselves.
    """

    limits: Mapping[str, int]
    owner: str | OwnerOf
    limit: int = 1_000
    slots: int | None = None
    released: Collection[int] = ()
    per_user: int = MAX_PER_USER

    def owner_of(self, row: Waiting) -> str:
        """Who holds it."""
        return self.owner if isinstance(self.owner, str) else self.owner(row.id, row.attempt)


def claim_rows(unit: Unit, claim: Claim, spec_of: SpecOf, *, now: datetime) -> list[Job]:
    """Take the rows whose turn it is, each under a lease of its own; of several targets, what waits longest first.

    To claim for a host or a device is its beat: the silence before counts for nothing.
    """
    limits = {target: count for target, count in sorted(claim.limits.items()) if count > 0}
    turns = {target: unit.take_turns(target, count) for target, count in limits.items()}
    limit = claim.limit
    if claim.slots is not None and isinstance(claim.owner, str):
        limit = min(limit, claim.slots - unit.holding(claim.owner))
    lines = {
        target: unit.queue(target, now=now, released=claim.released, limit=count, per_user=claim.per_user)
        for target, count in limits.items()
    }
    jobs: list[Job] = []
    latest: dict[tuple[str, int], int] = {}
    remote: set[str] = set()
    while len(jobs) < limit and (heads := [(line[0].since, target) for target, line in lines.items() if line]):
        target = min(heads)[1]
        row = lines[target].pop(0)
        owner = claim.owner_of(row)
        job = _claim(unit, row, owner, spec_of, now)
        if job is not None:
            jobs.append(job)
            remote.update([owner] if is_remote(owner) else [])
            latest[target, row.user_id] = turns[target]
            turns[target] += 1
    for (target, user_id), turn in latest.items():
        unit.served(target, user_id, turn)
    for owner in sorted(remote):
        unit.beat(owner)
    return jobs


def _claim(unit: Unit, waiting: Waiting, owner: str, spec_of: SpecOf, now: datetime) -> Job | None:
    task = unit.touch(waiting.task_id)
    current = unit.subtask(waiting.id)
    if current is None or current.status != Status.PENDING or current.attempt != waiting.attempt:
        return None
    row = unit.update_subtask(
        waiting.id,
        task=task,
        status=Status.RUNNING.value,
        owner=owner,
        lease=secrets.token_urlsafe(16),
        reported=not is_remote(owner),  # a worker that has claimed a run begins it in the same step
        started_at=now,
    )
    view = settle(unit, task)
    try:
        spec: Any = spec_of(unit, view.task, row)
    except WegentError as error:
        spec = error
    waited = max(0.0, (now - waiting.since).total_seconds())
    return job_from(row, spec=spec, about=Claimed(row, view, waited))


def job_from(row: Subtask, *, spec: Any = None, about: Any = None) -> Job:
    """The row's present attempt as the kernel knows it."""
    return Job(
        task_id=row.task_id,
        subtask_id=row.id,
        message_id=row.message_id,
        attempt=row.attempt,
        revision=row.revision,
        lease=row.lease or "",
        target=row.target,
        user_id=row.sender_id,
        spec=spec,
        about=about,
        reason=row.reason,
        traceparent=row.options.get("traceparent"),
    )
