"""Calls of executor hosts that are not the server (protocol section 7.1)."""

from attrs import field, frozen

from wegent.protocol.fields import COUNT, FILLED, ID, PERCENT, SOME, TEXT, Each, Text, Whole
from wegent.protocol.jobs import Job
from wegent.protocol.limits import MAX_EXECUTOR, MAX_FETCH_WAIT_S, MAX_LIST, MAX_NAME
from wegent.protocol.runner import ReportedResult, RunnerMessage, RunnerSkillAnswer
from wegent.protocol.status import Status
from wegent.protocol.tasks import Subtask

TARGET = Text(1, MAX_NAME)


@frozen(kw_only=True)
class FetchTasks:
    """`POST /tasks/fetch`: claim waiting runs of some targets, waiting up to `wait_s` seconds for one."""

    executor: str = field(validator=Text(1, MAX_EXECUTOR))
    targets: tuple[str, ...] = field(validator=Each(TARGET))
    limit: int = field(validator=Whole(1, MAX_LIST))
    wait_s: int = field(default=0, validator=Whole(0, MAX_FETCH_WAIT_S))


@frozen(kw_only=True)
class FetchedTasks:
    """Reply to `FetchTasks`."""

    tasks: tuple[Job, ...]


@frozen(kw_only=True)
class ReportStatus:
    """`PUT /tasks/{id}/status`: what a run said since the last report; renews its lease.

    `skills_received` are ids of answers that came with earlier replies and need not come again.
    """

    subtask_id: int = field(validator=ID)
    attempt: int = field(validator=ID)
    lease: str = field(validator=FILLED)
    status: Status | None = None
    progress: int | None = field(default=None, validator=PERCENT)
    events: tuple[RunnerMessage, ...] | None = field(default=None, validator=SOME)
    result: ReportedResult | None = None
    error_message: str | None = None
    error_type: str | None = None
    skills_received: tuple[str, ...] | None = field(default=None, validator=Each(TEXT))


@frozen(kw_only=True)
class ReportReply:
    """Reply to `ReportStatus`; `offset` is the log's length, `cancel` asks the host to stop the run.

    `skills` are the answers to the run's `RunnerSkill`s, each repeated until a report says that it was received.
    """

    subtask_id: int
    status: Status
    offset: int = field(validator=COUNT)
    cancel: bool
    skills: tuple[RunnerSkillAnswer, ...] = ()


@frozen(kw_only=True)
class SubtaskList:
    """Reply to `GET /tasks/{id}/subtasks`."""

    subtasks: tuple[Subtask, ...]
