"""Every event: its name, which way it goes, what it carries, what answers it (protocol sections 3, 4 and 8).

The names stand here and nowhere else. `device:status` and `task:close-session` name two events each, told
apart by namespace and direction.
"""

from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from wegent.protocol import auth, chat, correction, devices, executions, skills, tasks
from wegent.protocol.jobs import Job

AUTH_ERROR: Final = "auth:error"
AUTH_REFRESH: Final = "auth:refresh"
CHAT_SEND: Final = "chat:send"
CHAT_CANCEL: Final = "chat:cancel"
CHAT_RETRY: Final = "chat:retry"
CHAT_RESUME: Final = "chat:resume"
CHAT_START: Final = "chat:start"
CHAT_CHUNK: Final = "chat:chunk"
CHAT_DONE: Final = "chat:done"
CHAT_ERROR: Final = "chat:error"
CHAT_CANCELLED: Final = "chat:cancelled"
CHAT_MESSAGE: Final = "chat:message"
TASK_JOIN: Final = "task:join"
TASK_LEAVE: Final = "task:leave"
TASK_CLOSE_SESSION: Final = "task:close-session"
TASK_CREATED: Final = "task:created"
TASK_STATUS: Final = "task:status"
TASK_UPDATED: Final = "task:updated"
TASK_APP_UPDATE: Final = "task:app_update"
TASK_PROGRESS: Final = "task:progress"
TASK_COMPLETE: Final = "task:complete"
TASK_EXECUTE: Final = "task:execute"
TASK_CANCEL: Final = "task:cancel"
TASK_SKILL: Final = "task:skill"
HISTORY_SYNC: Final = "history:sync"
SKILL_REQUEST: Final = "skill:request"
SKILL_RESPONSE: Final = "skill:response"
DEVICE_REGISTER: Final = "device:register"
DEVICE_HEARTBEAT: Final = "device:heartbeat"
DEVICE_ONLINE: Final = "device:online"
DEVICE_OFFLINE: Final = "device:offline"
DEVICE_STATUS: Final = "device:status"
DEVICE_REPLACED: Final = "device:replaced"
DEVICE_SLOT_UPDATE: Final = "device:slot_update"
CORRECTION_START: Final = "correction:start"
CORRECTION_PROGRESS: Final = "correction:progress"
CORRECTION_CHUNK: Final = "correction:chunk"
CORRECTION_DONE: Final = "correction:done"
CORRECTION_ERROR: Final = "correction:error"
EXECUTION_UPDATE: Final = "background:execution_update"
SYNC_REQUIRED: Final = "sync:required"

CHAT: Final = "/chat"
LOCAL_EXECUTOR: Final = "/local-executor"


class Room(StrEnum):
    """Where an event of the server goes: the kind of room, or one connection."""

    CONNECTION = "connection"
    USER = "user"
    TASK = "task"
    DEVICE = "device"


@frozen
class Event:
    """One event: `room` is None for what clients send, `ack` is None where none is expected."""

    name: str
    namespace: str
    payload: type[Any]
    ack: type[Any] | None = None
    room: Room | None = None

    @property
    def from_client(self) -> bool:
        """Whether clients and devices send it."""
        return self.room is None


def user_room(user_id: int) -> str:
    """Return the room of a user's connections in a namespace."""
    return f"user:{user_id}"


def task_room(task_id: int) -> str:
    """Return the room of those who look at a task."""
    return f"task:{task_id}"


def device_room(user_id: int, device_id: str) -> str:
    """Return the room of a device's connection."""
    return f"device:{user_id}:{device_id}"


def event(namespace: str, name: str, *, from_client: bool) -> Event:
    """Return an event by what tells it apart.

    Raises:
        KeyError: there is no such event.
    """
    return _BY_KEY[namespace, name, from_client]


_C, _T, _U, _D = Room.CONNECTION, Room.TASK, Room.USER, Room.DEVICE

EVENTS: Final[tuple[Event, ...]] = (
    Event(CHAT_SEND, CHAT, chat.ChatSend, chat.ChatSendAck),
    Event(CHAT_CANCEL, CHAT, chat.ChatCancel, chat.ChatCancelAck),
    Event(CHAT_RETRY, CHAT, chat.ChatRetry, chat.ChatRetryAck),
    Event(CHAT_RESUME, CHAT, chat.ChatResume, chat.ChatResumeAck),
    Event(TASK_JOIN, CHAT, tasks.TaskJoin, tasks.TaskJoinAck),
    Event(TASK_LEAVE, CHAT, tasks.TaskLeave, tasks.Success),
    Event(TASK_CLOSE_SESSION, CHAT, tasks.TaskCloseSession, tasks.Success),
    Event(HISTORY_SYNC, CHAT, tasks.HistorySync, tasks.HistorySyncAck),
    Event(SKILL_RESPONSE, CHAT, skills.SkillResponse, tasks.Success),
    Event(AUTH_REFRESH, CHAT, auth.AuthRefresh, auth.AuthRefreshAck),
    Event(AUTH_ERROR, CHAT, auth.AuthError, room=_C),
    Event(CHAT_START, CHAT, chat.ChatStart, room=_T),
    Event(CHAT_CHUNK, CHAT, chat.ChatChunk, room=_T),
    Event(CHAT_DONE, CHAT, chat.ChatDone, room=_T),
    Event(CHAT_ERROR, CHAT, chat.ChatError, room=_T),
    Event(CHAT_CANCELLED, CHAT, chat.ChatCancelled, room=_T),
    Event(CHAT_MESSAGE, CHAT, chat.ChatMessage, room=_T),
    Event(TASK_CREATED, CHAT, tasks.TaskCreated, room=_U),
    Event(TASK_STATUS, CHAT, tasks.TaskStatus, room=_U),
    Event(TASK_UPDATED, CHAT, tasks.TaskUpdated, room=_U),
    Event(TASK_APP_UPDATE, CHAT, tasks.TaskAppUpdate, room=_T),
    Event(DEVICE_ONLINE, CHAT, devices.DeviceChanged, room=_U),
    Event(DEVICE_OFFLINE, CHAT, devices.DeviceChanged, room=_U),
    Event(DEVICE_STATUS, CHAT, devices.DeviceChanged, room=_U),
    Event(DEVICE_SLOT_UPDATE, CHAT, devices.DeviceSlotUpdate, room=_U),
    Event(SKILL_REQUEST, CHAT, skills.SkillRequest, room=_T),
    Event(CORRECTION_START, CHAT, correction.CorrectionStart, room=_T),
    Event(CORRECTION_PROGRESS, CHAT, correction.CorrectionProgress, room=_T),
    Event(CORRECTION_CHUNK, CHAT, correction.CorrectionChunk, room=_T),
    Event(CORRECTION_DONE, CHAT, correction.CorrectionDone, room=_T),
    Event(CORRECTION_ERROR, CHAT, correction.CorrectionError, room=_T),
    Event(EXECUTION_UPDATE, CHAT, executions.ExecutionUpdate, room=_U),
    Event(SYNC_REQUIRED, CHAT, tasks.SyncRequired, room=_U),
    Event(DEVICE_REGISTER, LOCAL_EXECUTOR, devices.DeviceRegister, devices.DeviceRegisterAck),
    Event(DEVICE_HEARTBEAT, LOCAL_EXECUTOR, devices.DeviceHeartbeat, tasks.Success),
    Event(DEVICE_STATUS, LOCAL_EXECUTOR, devices.DeviceStatusReport, tasks.Success),
    Event(TASK_PROGRESS, LOCAL_EXECUTOR, devices.TaskProgress, devices.TaskProgressAck),
    Event(TASK_COMPLETE, LOCAL_EXECUTOR, devices.TaskComplete, tasks.Success),
    Event(AUTH_REFRESH, LOCAL_EXECUTOR, auth.AuthRefresh, auth.AuthRefreshAck),
    Event(AUTH_ERROR, LOCAL_EXECUTOR, auth.AuthError, room=_C),
    Event(DEVICE_REPLACED, LOCAL_EXECUTOR, devices.DeviceReplaced, room=_C),
    Event(TASK_EXECUTE, LOCAL_EXECUTOR, Job, devices.TaskExecuteAck, room=_D),
    Event(TASK_CANCEL, LOCAL_EXECUTOR, devices.TaskCancel, tasks.Success, room=_D),
    Event(TASK_SKILL, LOCAL_EXECUTOR, devices.TaskSkill, tasks.Success, room=_D),
    Event(TASK_CLOSE_SESSION, LOCAL_EXECUTOR, tasks.TaskCloseSession, tasks.Success, room=_D),
)
"""All of them, for routing, documentation and tests."""

_BY_KEY: Final = {(each.namespace, each.name, each.from_client): each for each in EVENTS}
