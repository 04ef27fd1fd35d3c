"""Tasks that run in the background, now, later or again and again (protocol sections 4 and 10)."""

from datetime import datetime

from attrs import field, frozen

from wegent.protocol.fields import FILLED, ID, SHORT, TIME
from wegent.protocol.status import Status, TaskType


@frozen(kw_only=True)
class ExecutionRequest:
    """`POST /executions`: at `run_at`, or as `cron` says in `timezone`, else at once."""

    team_id: int = field(validator=ID)
    prompt: str = field(validator=FILLED)
    run_at: datetime | None = field(default=None, validator=TIME)
    cron: str | None = field(default=None, validator=SHORT)
    timezone: str | None = field(default=None, validator=SHORT)


@frozen(kw_only=True)
class ExecutionUpdate:
    """`background:execution_update`."""

    execution_id: int
    status: Status
    created_at: datetime
    updated_at: datetime
    task_id: int | None = None
    task_type: TaskType | None = None
    prompt: str | None = None
    result_summary: str | None = None
    error_message: str | None = None
