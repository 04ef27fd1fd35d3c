"""What an executor is told of a row: the protocol's Job (§7.1), put together inside the claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wegent.core.errors import NotFound
from wegent.protocol.chat import Attachment
from wegent.protocol.jobs import Job, JobBot, JobMessage, JobTeam, JobUser, JobWorkspace
from wegent.protocol.limits import LEASE_S
from wegent.protocol.status import Role, Status
from wegent.server.contexts import ModelTexts, attachments_of
from wegent.server.kind_secrets import without_secrets
from wegent.server.owners import device_of
from wegent.server.ports.store import Unit
from wegent.server.records import Subtask, Task
from wegent.server.teams import TeamSetup, setup_of

HISTORY = 200
"""Messages before a prompt that a model is shown at most."""
ATTACHMENTS = 100
"""Attachments that a job names at most."""


def job_of(unit: Unit, task: Task, row: Subtask, *, lease_s: float = LEASE_S) -> Job:
    """The job of a task's row; `lease_s` is how long its owner may be silent.

    Raises:
        WegentError: something that it needs is missing.
    """
    team = unit.kind(task.team_id)
    message = unit.subtask(row.answers) if row.answers is not None else None
    if team is None or message is None:
        reason = "the team, or the message that this should answer, is no more"
        raise NotFound(reason)
    setup = setup_of(unit, team, **model_of(row))
    texts = ModelTexts(unit)
    prompt = texts.of(message.prompt, message.contexts)
    earlier = _earlier(unit, task, message)
    return Job(
        task_id=task.id,
        subtask_id=row.id,
        message_id=row.message_id,
        attempt=row.attempt,
        lease=row.lease or "",
        lease_s=lease_s,
        target=row.target,
        user=JobUser(id=message.sender_id, name=message.sender_name),
        team=JobTeam(id=setup.id, name=setup.name, namespace=setup.namespace),
        bot=_bot(setup, row),
        prompt=prompt,
        history=_history(texts, task, earlier),
        attachments=_attachments([*earlier, message]),
        workspace=JobWorkspace(**dict(task.options)),
        title=task.title,
        auth_token="",
        created_at=row.created_at,
        traceparent=row.options.get("traceparent"),
    )


def model_of(row: Subtask) -> dict[str, Any]:
    """Which model was asked for, and by whom, as `setup_of` takes it."""
    return {"model": row.options.get("model"), "asked_by": row.options.get("model_by", row.sender_id)}


def _bot(setup: TeamSetup, row: Subtask) -> JobBot:
    features = {name: bool(row.options.get(name)) for name in ("deep_thinking", "web_search")}
    return JobBot(
        name=setup.bot_name,
        shell_type=setup.shell_type,
        system_prompt=setup.system_prompt,
        model={**_told(setup.model, setup.model_owner, row.target), "features": features},
        mcp_servers=_told(setup.mcp_servers, setup.ghost_owner, row.target),
        skills=tuple(setup.skills),
        image=setup.image,
        resources=None if setup.resources is None else dict(setup.resources),
    )


def _told(settings: Mapping[str, Any], owner: int | None, target: str) -> dict[str, Any]:
    """A user's own machine is no place for the secrets of others."""
    device = device_of(target)
    return dict(settings) if device is None or device[0] == owner else without_secrets(settings)


def _earlier(unit: Unit, task: Task, message: Subtask) -> list[Subtask]:
    """What was said before the message, as far as it counts."""
    rows = unit.subtasks(task.id, before_message_id=message.message_id, limit=HISTORY, newest=True)
    return [row for row in rows if row.role == Role.USER or (Status(row.status).terminal and row.content)]


def _history(texts: ModelTexts, task: Task, rows: Sequence[Subtask]) -> tuple[JobMessage, ...]:
    newest_first = [
        JobMessage(role="assistant", content=row.content)
        if row.role == Role.ASSISTANT
        else JobMessage(
            role="user",
            content=texts.of(row.prompt, row.contexts),
            sender=row.sender_name if task.is_group_chat else None,
        )
        for row in reversed(rows)
    ]
    return tuple(reversed(newest_first))


def _attachments(rows: Sequence[Subtask]) -> tuple[Attachment, ...]:
    """Those of the conversation, each once, the newest of them."""
    found = {each.id: each for row in rows for each in attachments_of(row.contexts)}
    return tuple(found.values())[-ATTACHMENTS:]
