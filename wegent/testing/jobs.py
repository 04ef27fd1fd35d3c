"""Jobs as executors get them, for their tests."""

from __future__ import annotations

from datetime import UTC, datetime

from wegent.core.model import Job
from wegent.protocol import jobs


def make_job(
    prompt: str = "Hello",
    *,
    shell_type: str = "Command",
    target: str = "process",
    task_id: int = 1,
    subtask_id: int = 2,
    attempt: int = 1,
    workspace: jobs.JobWorkspace | None = None,
) -> Job:
    """A claimed job whose bot has the given shell type."""
    spec = jobs.Job(
        task_id=task_id,
        subtask_id=subtask_id,
        message_id=3,
        attempt=attempt,
        lease="lease",
        lease_s=15,
        user=jobs.JobUser(id=7, name="ann"),
        team=jobs.JobTeam(id=1, name="assistant", namespace="default"),
        bot=jobs.JobBot(name="assistant", shell_type=shell_type),
        prompt=prompt,
        workspace=workspace or jobs.JobWorkspace(),
        title="A task",
        auth_token="",
        created_at=datetime(2026, 2, 1, tzinfo=UTC),
    )
    return Job(task_id, subtask_id, 3, attempt, 5, "lease", target, 7, spec)
