"""Tasks that run in the background, now, later or again and again (protocol sections 4 and 10)."""

from datetime import datetime

from attrs import field, frozen

from wegent.protocol.fields import ID, SHORT, TIME, Text
from wegent.protocol.limits import MAX_EXECUTION_PROMPT
from wegent.protocol.status import Status, TaskType


@frozen(kw_only=True)
class ExecutionRequest:
    """`POST /executions`: at `run_at`, or as `cron` says in `timezone` (an IANA name, else UTC), else at once."""

    team_id: int = field(validator=ID)
    prompt: str = field(validator=Text(1, MAX_EXECUTION_PROMPT))
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


@frozen(kw_only=True)
class ExecutionItem:
    """An execution as REST tells of it. `status` is that of its latest run, `next_at` when it runs next, `runs` how
    many tasks it has made; `task_id` and `subtask_id` name the latest.
    """

    id: int
    team_id: int
    prompt: str
    run_at: datetime | None = None
    cron: str | None = None
    timezone: str | None = None
    next_at: datetime | None = None
    runs: int
    status: Status
    task_id: int | None = None
    subtask_id: int | None = None
    result_summary: str | None = None
    error_message: str | None = None
    created_at: datetime
    updated_at: datetime
