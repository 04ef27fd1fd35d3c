# ruff: noqa: N815 - the names are those of the protocol
"""Kinds: what teams, bots and all they are made of look like over REST (protocol section 10)."""

from enum import StrEnum
from typing import Any, Literal

from attrs import field, frozen

from wegent.protocol.fields import ID, JSON, NAME, SHORT, TEXT, AtMost, Each, Text
from wegent.protocol.limits import DEFAULT_SLOTS, MAX_DEVICE_ID, MAX_LIST, MAX_SHELL_TYPE
from wegent.protocol.status import OnLost, TaskType

API_VERSION = "wegent/v1"
NAMES = Each(Text(1, 255))


@frozen(kw_only=True)
class Metadata:
    """What a kind is called."""

    name: str = field(validator=NAME)
    namespace: str = field(default="default", validator=NAME)
    displayName: str | None = field(default=None, validator=SHORT)
    labels: dict[str, str] | None = field(default=None, validator=JSON)


@frozen(kw_only=True)
class Ref:
    """Another kind by name: the holder's own, else the public one. Without a namespace: in the holder's."""

    name: str = field(validator=NAME)
    namespace: str | None = field(default=None, validator=NAME)


@frozen(kw_only=True)
class GhostSpec:
    """A bot's soul: what it is told, and what it may use."""

    systemPrompt: str = field(default="", validator=TEXT)
    mcpServers: dict[str, Any] = field(factory=dict, validator=JSON)
    skills: tuple[str, ...] = field(default=(), validator=NAMES)


@frozen(kw_only=True)
class ModelSpec:
    """A model: how it is reached, and how much it takes and gives, in tokens."""

    modelConfig: dict[str, Any] = field(factory=dict, validator=JSON)
    contextWindow: int | None = field(default=None, validator=ID)
    maxOutputTokens: int | None = field(default=None, validator=ID)


@frozen(kw_only=True)
class ShellSpec:
    """Where and how a bot runs."""

    shellType: str = field(validator=Text(1, MAX_SHELL_TYPE))
    executor: str | None = field(default=None, validator=NAME)
    image: str | None = field(default=None, validator=NAME)
    resources: dict[str, Any] | None = field(default=None, validator=JSON)
    onLost: OnLost | None = None


@frozen(kw_only=True)
class BotSpec:
    """A ghost in a shell, with a model."""

    ghostRef: Ref
    shellRef: Ref
    modelRef: Ref | None = None


@frozen(kw_only=True)
class TeamMember:
    """A bot's part in a team."""

    botRef: Ref
    role: str | None = field(default=None, validator=SHORT)
    prompt: str | None = field(default=None, validator=TEXT)


@frozen(kw_only=True)
class TeamSpec:
    """Who answers together. Open to its owner, to everybody if `public`, to the users listed by name."""

    members: tuple[TeamMember, ...] = field(validator=AtMost(MAX_LIST, least=1))
    collaborationModel: str = field(default="solo", validator=NAME)
    public: bool | None = None
    users: tuple[str, ...] | None = field(default=None, validator=NAMES)
    onLost: OnLost | None = None


@frozen(kw_only=True)
class SkillSpec:
    """Something that a ghost can do, as its text tells it."""

    description: str = field(default="", validator=TEXT)
    prompt: str | None = field(default=None, validator=TEXT)
    config: dict[str, Any] | None = field(default=None, validator=JSON)


@frozen(kw_only=True)
class DeviceSpec:
    """A user's own machine that runs tasks."""

    device_id: str = field(validator=Text(1, MAX_DEVICE_ID))
    slot_max: int = field(default=DEFAULT_SLOTS, validator=ID)
    capabilities: Any = field(default=None, validator=JSON)


@frozen(kw_only=True)
class WorkspaceSpec:
    """Code to work on."""

    git_url: str | None = field(default=None, validator=TEXT)
    git_repo: str | None = field(default=None, validator=TEXT)
    branch_name: str | None = field(default=None, validator=SHORT)


@frozen(kw_only=True)
class TaskSpec:
    """A conversation."""

    title: str = field(default="", validator=TEXT)
    teamRef: Ref
    workspaceRef: Ref | None = None
    task_type: TaskType | None = None


class Kind(StrEnum):
    """The kinds; in paths they stand in lower case."""

    GHOST = "Ghost"
    MODEL = "Model"
    SHELL = "Shell"
    BOT = "Bot"
    TEAM = "Team"
    SKILL = "Skill"
    DEVICE = "Device"
    WORKSPACE = "Workspace"
    TASK = "Task"

    @property
    def path(self) -> str:
        """The kind's name in a path."""
        return self.value.lower()


SPECS: dict[Kind, type[Any]] = {
    Kind.GHOST: GhostSpec,
    Kind.MODEL: ModelSpec,
    Kind.SHELL: ShellSpec,
    Kind.BOT: BotSpec,
    Kind.TEAM: TeamSpec,
    Kind.SKILL: SkillSpec,
    Kind.DEVICE: DeviceSpec,
    Kind.WORKSPACE: WorkspaceSpec,
    Kind.TASK: TaskSpec,
}
"""The class of each kind's `spec`."""


@frozen(kw_only=True)
class Resource:
    """A kind as it is written and read; `spec` is of the class that `SPECS` names for `kind`.

    `id` and `status` are given by the server and ignored when written.
    """

    id: int | None = field(default=None, validator=ID)
    apiVersion: Literal["wegent/v1"] = "wegent/v1"
    kind: Kind
    metadata: Metadata
    spec: dict[str, Any] = field(validator=JSON)
    status: dict[str, Any] | None = field(default=None, validator=JSON)
