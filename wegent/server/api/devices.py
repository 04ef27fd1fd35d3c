"""One's devices over REST: what there is, which is the default, and away with one (protocol §10)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import frozen
from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.devices import SlotTask
from wegent.protocol.fields import text_fault
from wegent.protocol.limits import MAX_DEVICE_ID
from wegent.protocol.status import DeviceStatus
from wegent.protocol.tasks import Success
from wegent.server import device_rows as rows
from wegent.server.api.calls import PREFIX, principal, protect, reply
from wegent.server.api.describing import Items, describes
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Device


@frozen(kw_only=True)
class DeviceItem:
    """A device as its user sees it; `status` is what was told last, `slot_used` how many of `running_tasks` it has."""

    device_id: str
    name: str
    status: DeviceStatus
    connected: bool
    is_default: bool
    slot_used: int
    slot_max: int
    running_tasks: tuple[SlotTask, ...]
    executor_version: str | None = None
    capabilities: Any = None
    created_at: datetime
    seen_at: datetime | None = None
    offline_since: datetime | None = None


def device_item(unit: Unit, device: Device) -> DeviceItem:
    """The device with what is in its slots."""
    slots = rows.slots_of(unit, device)
    return DeviceItem(
        device_id=device.device_id,
        name=device.name,
        status=DeviceStatus(device.status),
        connected=device.connection is not None,
        is_default=device.is_default,
        slot_used=slots.slot_used,
        slot_max=slots.slot_max,
        running_tasks=slots.running_tasks,
        executor_version=device.executor_version,
        capabilities=device.capabilities,
        created_at=device.created_at,
        seen_at=device.seen_at,
        offline_since=device.offline_since,
    )


def devices_blueprint(store: Store, auth: Auth) -> Blueprint:
    """`GET /devices`, `PUT /devices/{id}/default`, `DELETE /devices/{id}`. An id may hold any character."""
    blueprint = Blueprint("devices", __name__, url_prefix=f"{PREFIX}/devices")
    protect(blueprint, auth)

    @blueprint.get("")
    @describes("One's devices, all of them", answers=Items(DeviceItem))
    async def list_devices() -> TrioResponse:
        user_id = principal().user_id

        def read(unit: Unit) -> list[DeviceItem]:
            return [device_item(unit, device) for device in unit.devices(user_id)]

        return reply({"items": await store.read(read)})

    @blueprint.put("/<path:device_id>/default")
    @describes("Make a device the default", answers=DeviceItem)
    async def make_default(device_id: str) -> TrioResponse:
        user_id = principal().user_id

        def work(unit: Unit) -> DeviceItem:
            return device_item(unit, rows.make_default(unit, user_id, _id(device_id)))

        return reply(await store.write(work))

    @blueprint.delete("/<path:device_id>")
    @describes("Forget a device")
    async def delete(device_id: str) -> TrioResponse:
        user_id = principal().user_id
        await store.write(lambda unit: rows.delete(unit, user_id, _id(device_id)))
        return reply(Success())

    return blueprint


def _id(text: str) -> str:
    """The id as a path has it; what can be no id is nobody's."""
    return "" if text_fault(text) or len(text) > MAX_DEVICE_ID else text
