"""The `/local-executor` namespace: what devices say, event by event (protocol §8)."""

from __future__ import annotations

from typing import Any

from wegent.core.namespaces import Ack, Namespace
from wegent.core.ports.auth import Auth
from wegent.core.rooms import Rooms
from wegent.core.sessions import Session
from wegent.protocol.auth import AuthRefresh, AuthRefreshAck, Scope
from wegent.protocol.devices import (
    DeviceHeartbeat,
    DeviceRegister,
    DeviceStatusReport,
    TaskComplete,
    TaskProgress,
    TaskProgressAck,
)
from wegent.protocol.events import (
    AUTH_REFRESH,
    DEVICE_HEARTBEAT,
    DEVICE_REGISTER,
    DEVICE_STATUS,
    LOCAL_EXECUTOR,
    TASK_COMPLETE,
    TASK_PROGRESS,
    user_room,
)
from wegent.protocol.tasks import Success
from wegent.server.chat import authenticator, convert, refresh_session
from wegent.server.devices import Devices

SCOPES = (Scope.USER, Scope.DEVICE)


def device_namespace(auth: Auth, rooms: Rooms, devices: Devices) -> Namespace:
    """The namespace with all of its handlers."""
    namespace = Namespace(LOCAL_EXECUTOR, convert=convert, authenticate=authenticator(auth, SCOPES), loose=True)

    @namespace.connected
    def connected(session: Session) -> None:
        rooms.enter(session, user_room(session.principal.user_id))

    namespace.disconnected(devices.disconnected)

    @namespace.on(DEVICE_REGISTER)
    async def register(session: Session, payload: DeviceRegister, ack: Ack) -> None:
        await devices.register(session, payload, ack)

    @namespace.on(DEVICE_HEARTBEAT, urgent=True)
    async def heartbeat(session: Session, payload: DeviceHeartbeat) -> Success:
        return await devices.presence.heartbeat(devices.linked(session, payload.device_id), payload)

    @namespace.on(DEVICE_STATUS)
    async def status(session: Session, payload: DeviceStatusReport) -> Success:
        return await devices.presence.status(devices.linked(session, payload.device_id), payload)

    @namespace.on(TASK_PROGRESS, lane=_of_run)
    async def progress(session: Session, payload: TaskProgress) -> TaskProgressAck:
        return await devices.reports.progress(devices.linked(session), payload)

    @namespace.on(TASK_COMPLETE, lane=_of_run)
    async def complete(session: Session, payload: TaskComplete) -> Success:
        return await devices.reports.complete(devices.linked(session), payload)

    @namespace.on(AUTH_REFRESH, urgent=True)
    async def refresh(session: Session, payload: AuthRefresh) -> AuthRefreshAck:
        return await refresh_session(auth, session, payload, SCOPES, devices.permit)

    return namespace


def _of_run(payload: Any) -> Any:
    """What is said of one run is taken in order."""
    return payload.subtask_id
