"""What of devices is in the store, as units: who is connected, who is offline, what is in whose slots (protocol §8)."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import frozen

from wegent.core.errors import Conflict, NotFound
from wegent.protocol.devices import DeviceRegister, DeviceSlotUpdate, SlotTask
from wegent.protocol.status import DeviceStatus, ErrorType, OnLost, Status
from wegent.server.owners import device_of, device_owner
from wegent.server.ports.store import Unit
from wegent.server.records import Device, Subtask
from wegent.server.status import TaskView, settle
from wegent.server.targets import free_device

MOST_DEVICES = 100
"""Devices that one user may have."""
AT_ONCE = 100
"""Rows that are ended in one unit."""
WHENEVER = timedelta(days=365)
"""Far enough ahead for every row that waits to be claimable by then."""


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
    """The connection is gone: the device's window begins. None: it was not that connection's any more.

    Repeated with the same `now`, after a commit that nobody knew of, it is as if it was done only once.
    """
    device = unit.device(user_id, device_id)
    if device is not None and device.connection is None and device.offline_since == now:
        return device
    if device is None or device.connection != connection:
        return None
    unit.beat(device_owner(user_id, device_id))
    return unit.put_device(user_id, device_id, connection=None, offline_since=now)


def call_offline(unit: Unit, user_id: int, device_id: str, since: datetime | None) -> Device | None:
    """The grace is over. None: the device is back."""
    device = unit.device(user_id, device_id)
    if device is None or device.connection is not None or device.offline_since != since:
        return None
    return unit.put_device(user_id, device_id, status=DeviceStatus.OFFLINE.value)


def disconnect_all(unit: Unit, *, now: datetime, worker: str | None = None) -> None:
    """No worker is alive, or the one of that name is not, so nothing is connected to it; what was until now has its
    window from now on.
    """
    for device in unit.present_devices():
        if worker is not None and not (device.connection or "").startswith(f"{worker}."):
            continue
        since = device.offline_since or now
        changes = {"status": DeviceStatus.OFFLINE.value, "connection": None, "offline_since": since}
        unit.put_device(device.user_id, device.device_id, **changes)


def known(unit: Unit, user_id: int, device_id: str) -> Device:
    """The user's device of that id; raises `NotFound`."""
    device = unit.device(user_id, device_id)
    if device is None:
        message = "you have no such device"
        raise NotFound(message)
    return device


def make_default(unit: Unit, user_id: int, device_id: str) -> Device:
    """Of the user's devices, let this one be the default; raises `NotFound`."""
    known(unit, user_id, device_id)
    for device in unit.devices(user_id):
        if device.is_default != (device.device_id == device_id):
            unit.put_device(user_id, device.device_id, is_default=not device.is_default)
    return known(unit, user_id, device_id)


def delete(unit: Unit, user_id: int, device_id: str) -> None:
    """Forget the device. What waits for it ends soon, as what waits for one that is lost.

    Raises:
        NotFound: the user has no such device.
        Conflict: it is connected, or may still come back to what it runs.
    """
    device = known(unit, user_id, device_id)
    owner = device_owner(user_id, device_id)
    if device.connection is not None:
        message = f"the device {device.name!r} is connected; stop it first"
        raise Conflict(message)
    if unit.holding(owner):
        message = f"the device {device.name!r} may still come back to its runs; wait a minute, or cancel them first"
        raise Conflict(message)
    unit.delete_device(user_id, device_id)
    unit.forget_owner(owner)


def end_waiting(unit: Unit, target: str, *, now: datetime, window: timedelta) -> list[tuple[Subtask, TaskView]]:
    """End what waits for a device that was deleted, or is away for longer than its window; or let it go to another
    one, if its `on_lost` says so.
    """
    user_id, device_id = device_of(target) or (0, "")
    device = unit.device(user_id, device_id)
    if device is not None and (device.connection is not None or now - (device.offline_since or now) < window):
        return []
    name = device_id if device is None else device.name
    ended: list[tuple[Subtask, TaskView]] = []
    for waiting in unit.queue(target, now=now + WHENEVER, limit=AT_ONCE, per_user=AT_ONCE):
        task = unit.touch(waiting.task_id)
        row = unit.subtask(waiting.id)
        if row is None or row.status != Status.PENDING or row.attempt != waiting.attempt:
            continue
        if row.on_lost == OnLost.REASSIGN and (other := free_device(unit, target)) is not None:
            unit.update_subtask(row.id, task=task, target=other, claimable_at=now)
        else:
            row = unit.update_subtask(
                row.id,
                task=task,
                status=Status.FAILED.value,
                error_message=f"the device {name!r} went away before it could take this run",
                error_type=ErrorType.DEVICE_LOST.value,
                completed_at=now,
            )
            ended.append((row, settle(unit, task)))
    return ended


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
