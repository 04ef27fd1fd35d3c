"""What a runner, an executor host or a device is given to do (protocol section 7.1)."""

from datetime import datetime
from typing import Any

from attrs import field, frozen

from wegent.protocol.chat import Attachment
from wegent.protocol.fields import COUNT, ID


@frozen(kw_only=True)
class Position:
    """A place in a run's text; `offset` counts code points."""

    subtask_id: int = field(validator=ID)
    attempt: int = field(validator=ID)
    offset: int = field(validator=COUNT)


@frozen(kw_only=True)
class JobUser:
    """For whom a job is done."""

    id: int
    name: str


@frozen(kw_only=True)
class JobTeam:
    """Which team was asked."""

    id: int
    name: str
    namespace: str


@frozen(kw_only=True)
class JobBot:
    """Which bot answers, and what it is made of; `model`, `tools` and the like as their kinds give them. `image` and
    `resources` are what its Shell wants to run in, where that is a container.
    """

    name: str
    shell_type: str
    system_prompt: str = ""
    model: dict[str, Any] = field(factory=dict)
    tools: tuple[Any, ...] = ()
    mcp_servers: Any = field(factory=dict)
    skills: tuple[Any, ...] = ()
    image: str | None = None
    resources: dict[str, Any] | None = None


@frozen(kw_only=True)
class JobMessage:
    """An earlier message of the task."""

    role: str
    content: str
    sender: str | None = None


@frozen(kw_only=True)
class JobWorkspace:
    """The code that a job works on."""

    git_url: str | None = None
    git_repo: str | None = None
    branch_name: str | None = None


@frozen(kw_only=True)
class Job:
    """One attempt at one reply.

    `lease` proves the right to report, for `lease_s` seconds after each report. `target` is what it was claimed for:
    an executor's name, or a device. `resume` is where an earlier attempt's text ended. `auth_token` (scope `run`) reads
    the task's rows and attachments. `traceparent` (W3C Trace Context) is the span that the work is a part of.
    """

    task_id: int = field(validator=ID)
    subtask_id: int = field(validator=ID)
    message_id: int = field(validator=ID)
    attempt: int = field(validator=ID)
    lease: str
    lease_s: float
    target: str = ""
    resume: Position | None = None
    user: JobUser
    team: JobTeam
    bot: JobBot
    prompt: str
    history: tuple[JobMessage, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    workspace: JobWorkspace = field(factory=JobWorkspace)
    title: str
    auth_token: str
    created_at: datetime
    traceparent: str | None = None
