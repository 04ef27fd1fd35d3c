"""Words that rows, runs and blocks are described by (protocol sections 1, 4 and 5)."""

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """A word of a closed list, matched without regard to case."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        folded = value.casefold()
        return next((word for word in cls if word.value.casefold() == folded), None)


class Status(Word):
    """Status of a subtask, and of a task (protocol section 5)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """Whether the attempt has ended; only a retry leaves such a status."""
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

    @property
    def active(self) -> bool:
        """Whether a run holds the row."""
        return self in (Status.RUNNING, Status.CANCELLING)


class Ending(Word):
    """How an attempt ended: the terminal ones of `Status`."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Role(Word):
    """Who wrote a subtask."""

    USER = "USER"
    ASSISTANT = "ASSISTANT"


class BlockStatus(Word):
    """How far a tool's use has come."""

    PENDING = "pending"
    STREAMING = "streaming"
    DONE = "done"
    ERROR = "error"


class DeviceStatus(Word):
    """What a device can take."""

    ONLINE = "online"
    BUSY = "busy"
    OFFLINE = "offline"


class RunReason(Word):
    """Why an attempt after the first was started: `chat:start.reason`."""

    RETRY = "retry"
    WORKER_LOST = "worker_lost"
    DEVICE_LOST = "device_lost"
    EXECUTOR_LOST = "executor_lost"
    DRAIN = "drain"


class ErrorType(Word):
    """Why a run failed: `chat:error.type`."""

    MODEL = "model"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    DEVICE_LOST = "device_lost"
    EXECUTOR_LOST = "executor_lost"
    RUNNER_EXIT = "runner_exit"
    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    IMAGE = "image"
    ENGINE_AWAY = "engine_away"
    OUTPUT_LIMIT = "output_limit"
    PROTOCOL = "protocol"
    INTERNAL = "internal"

    @classmethod
    def named(cls, name: str | None) -> Self:
        """The type of that name; what nobody knows counts as internal."""
        try:
            return cls(name or cls.INTERNAL)
        except ValueError:
            return cls(cls.INTERNAL)


class TaskType(Word):
    """What a task is for."""

    CHAT = "chat"
    CODE = "code"
    TASK = "task"


class IfRunning(Word):
    """What a message that wants a reply does while another run is active."""

    REJECT = "reject"
    QUEUE = "queue"
    INTERRUPT = "interrupt"


class OnLost(Word):
    """What becomes of a run whose owner is lost; `reassign` is for devices."""

    FAIL = "fail"
    RERUN = "rerun"
    REASSIGN = "reassign"
