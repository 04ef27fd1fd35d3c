"""What of devices is in the store, as units: who is connected, who is offline, what is in whose slots (protocol §8)."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from wegent.core.errors import Conflict
from wegent.protocol.devices import DeviceRegister, DeviceSlotUpdate, SlotTask
from wegent.protocol.status import DeviceStatus, Status
from wegent.server.owners import device_owner
from wegent.server.ports.store import Unit
from wegent.server.records import Device, Subtask

MOST_DEVICES = 100
"""Devices that one user may have."""


@frozen
class Registered:
    """A device as its registration left it, and the rows that it holds by then."""

    device: Device
    rows: list[Subtask]


def register(unit: Unit, user_id: int, asked: DeviceRegister, connection: str, *, now: datetime) -> Registered:
    """Make the device, or take it over from whichever connection had it.

    Raises:
        Conflict: the user has as many devices as one may have.
    """
    if unit.device(user_id, asked.device_id) is None and len(unit.devices(user_id)) >= MOST_DEVICES:
        message = f"you have {MOST_DEVICES} devices, and may have no more; delete one that is offline"
        raise Conflict(message)
    device = unit.put_device(
        user_id,
        asked.device_id,
        name=asked.name,
        slot_max=asked.slot_max,
        executor_version=asked.executor_version,
        capabilities=asked.capabilities,
        status=DeviceStatus.ONLINE.value,
        connection=connection,
        offline_since=None,
        seen_at=now,
    )
    owner = device_owner(user_id, asked.device_id)
    unit.beat(owner)
    return Registered(device, unit.running([owner]))


def hear(unit: Unit, user_id: int, device_id: str, connection: str, *, now: datetime) -> Device | None:
    """A heartbeat: a device that had lapsed is online again. None: it is another connection's, or deleted."""
    device = unit.device(user_id, device_id)
    if device is None or device.connection not in (None, connection):
        return None
    lapsed = device.connection is None
    back = {"status": DeviceStatus.ONLINE.value, "connection": connection, "offline_since": None} if lapsed else {}
    return unit.put_device(user_id, device_id, seen_at=now, **back)


def set_status(unit: Unit, user_id: int, device_id: str, connection: str, status: DeviceStatus) -> Device | None:
    """What the device says of itself; None: it is another connection's, or deleted."""
    device = unit.device(user_id, device_id)
    if device is None or device.connection != connection:
        return None
    return unit.put_device(user_id, device_id, status=status.value)


def disconnect(unit: Unit, user_id: int, device_id: str, connection: str, *, now: datetime) -> Device | None:
    """The connection is gone: the device's window begins. None: it was not that connection's any more."""
    device = unit.device(user_id, device_id)
    if device is None or device.connection != connection:
        return None
    unit.beat(device_owner(user_id, device_id))
    return unit.put_device(user_id, device_id, connection=None, offline_since=now)


def call_offline(unit: Unit, user_id: int, device_id: str, since: datetime | None) -> Device | None:
    """The grace is over. None: the device is back, or was called offline before."""
    device = unit.device(user_id, device_id)
    gone = device is not None and device.connection is None and device.offline_since == since
    if device is None or not gone or device.status == DeviceStatus.OFFLINE:
        return None
    return unit.put_device(user_id, device_id, status=DeviceStatus.OFFLINE.value)


def disconnect_all(unit: Unit, *, now: datetime) -> None:
    """No worker is alive, so nothing is connected; what was until now has its window from now on."""
    for device in unit.present_devices():
        since = device.offline_since or now
        changes = {"status": DeviceStatus.OFFLINE.value, "connection": None, "offline_since": since}
        unit.put_device(device.user_id, device.device_id, **changes)


def slots_of(unit: Unit, device: Device) -> DeviceSlotUpdate:
    """How full the device is, and with what."""
    rows = unit.running([device_owner(device.user_id, device.device_id)])
    return DeviceSlotUpdate(
        device_id=device.device_id,
        slot_used=len(rows),
        slot_max=device.slot_max,
        running_tasks=tuple(_slot_task(unit, row) for row in rows),
    )


def _slot_task(unit: Unit, row: Subtask) -> SlotTask:
    task = unit.task(row.task_id)
    return SlotTask(
        task_id=row.task_id,
        subtask_id=row.id,
        title=task.title if task is not None else "",
        status=Status(row.status),
        created_at=row.created_at,
    )
