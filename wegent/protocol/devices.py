"""Devices: what they say and are told, and what people see of them (protocol sections 4 and 8)."""

from datetime import datetime
from typing import Any

from attrs import field, frozen

from wegent.protocol.fields import COUNT, ID, IDS, JSON, PERCENT, SHORT, SOME, Text, Whole
from wegent.protocol.limits import DEFAULT_SLOTS, DEVICE_HEARTBEAT_S, MAX_DEVICE_ID, MAX_DEVICE_NAME, MAX_LIST
from wegent.protocol.runner import ReportedResult, RunnerMessage
from wegent.protocol.status import DeviceStatus, Ending, Status

DEVICE_ID = Text(1, MAX_DEVICE_ID)


@frozen(kw_only=True)
class DeviceRegister:
    """`device:register`: a device is there; a newer registration takes over from an older one."""

    device_id: str = field(validator=DEVICE_ID)
    name: str = field(validator=Text(1, MAX_DEVICE_NAME))
    slot_max: int = field(default=DEFAULT_SLOTS, validator=Whole(1, MAX_LIST))
    executor_version: str | None = field(default=None, validator=SHORT)
    capabilities: Any = field(default=None, validator=JSON)


@frozen(kw_only=True)
class DeviceRun:
    """A run that the server believes a device has; it goes on from `offset`, or says that it failed."""

    task_id: int
    subtask_id: int
    attempt: int
    lease: str
    offset: int
    status: Status


@frozen(kw_only=True)
class DeviceRegisterAck:
    """Ack of `device:register`; what is not in `running` the device stops. The interval is in seconds."""

    device_id: str
    running: tuple[DeviceRun, ...]
    heartbeat_interval: int = DEVICE_HEARTBEAT_S
    success: bool = True


@frozen(kw_only=True)
class DeviceHeartbeat:
    """`device:heartbeat`: keeps the device online, and its leases."""

    device_id: str = field(validator=DEVICE_ID)
    running_task_ids: tuple[int, ...] = field(validator=IDS)


@frozen(kw_only=True)
class DeviceStatusReport:
    """`device:status` of a device."""

    device_id: str = field(validator=DEVICE_ID)
    status: DeviceStatus


@frozen(kw_only=True)
class DeviceReplaced:
    """`device:replaced`: another connection has registered as this device; the one that is told so ends."""

    device_id: str
    error: str


@frozen(kw_only=True)
class TaskProgress:
    """`task:progress`: a delta at an offset, runner messages, or the whole text so far.

    Text is not checked: what is not valid Unicode becomes U+FFFD before it enters the log. Without `attempt`
    it is the one that was last sent to this connection, or named in its register ack.
    """

    subtask_id: int = field(validator=ID)
    attempt: int | None = field(default=None, validator=ID)
    status: Status | None = None
    progress: int | None = field(default=None, validator=PERCENT)
    offset: int | None = field(default=None, validator=COUNT)
    delta: str | None = None
    events: tuple[RunnerMessage, ...] | None = field(default=None, validator=SOME)
    result: ReportedResult | None = None


@frozen(kw_only=True)
class TaskProgressAck:
    """Ack of `task:progress`; `offset` is the log's length."""

    offset: int
    success: bool = True


@frozen(kw_only=True)
class TaskComplete:
    """`task:complete`: the run ended; repeated until it is acknowledged."""

    subtask_id: int = field(validator=ID)
    attempt: int | None = field(default=None, validator=ID)
    status: Ending
    progress: int = field(default=100, validator=PERCENT)
    result: ReportedResult | None = None
    error_message: str | None = None
    error_type: str | None = None


@frozen(kw_only=True)
class TaskExecuteAck:
    """Ack of `task:execute`, whose payload is a `Job`."""

    accepted: bool
    reason: str | None = None


@frozen(kw_only=True)
class TaskCancel:
    """`task:cancel`: the device stops a run."""

    task_id: int
    subtask_id: int
    attempt: int


@frozen(kw_only=True)
class TaskSkill:
    """`task:skill`: the answer to a run's `RunnerSkill` of the same `id`; repeated until it is acknowledged."""

    task_id: int
    subtask_id: int
    attempt: int
    id: str
    success: bool
    result: Any = None
    error: str | None = None


@frozen(kw_only=True)
class DeviceChanged:
    """`device:online`, `device:offline` and `device:status`, for people."""

    device_id: str
    name: str | None = None
    status: DeviceStatus


@frozen(kw_only=True)
class SlotTask:
    """A task in a device's slot."""

    task_id: int
    subtask_id: int
    title: str
    status: Status
    created_at: datetime


@frozen(kw_only=True)
class DeviceSlotUpdate:
    """`device:slot_update`: how full a device is."""

    device_id: str
    slot_used: int
    slot_max: int
    running_tasks: tuple[SlotTask, ...]
