"""What people are told of their devices (protocol §4): who is there, and how full."""

from __future__ import annotations

import logging

import trio

from wegent.core.errors import Overloaded
from wegent.core.rooms import Rooms
from wegent.protocol.devices import DeviceChanged
from wegent.protocol.events import CHAT, DEVICE_SLOT_UPDATE, user_room
from wegent.protocol.status import DeviceStatus
from wegent.server.device_rows import slots_of
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Device

log = logging.getLogger(__name__)
RETRY_S = 1.0


class DeviceTeller:
    """Tells a user's connections of that user's devices, after the commit of what is told."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms
        self._changed: set[tuple[int, str]] = set()
        self._woken = trio.Event()

    def changed(self, event: str, device: Device) -> None:
        """`device:online`, `device:offline` or `device:status`."""
        told = DeviceChanged(device_id=device.device_id, name=device.name, status=DeviceStatus(device.status))
        self._rooms.emit(CHAT, user_room(device.user_id), event, told)

    def slots_changed(self, user_id: int, device_id: str) -> None:
        """What the device runs, or may run, is about to be read and told; changes that come close are told as one."""
        self._changed.add((user_id, device_id))
        self._woken.set()

    async def run(self) -> None:
        """Read and tell what has changed, until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            while self._changed:
                key = self._changed.pop()
                try:
                    await self._tell_slots(*key)
                except Overloaded as error:
                    self._changed.add(key)
                    log.warning("nobody knows what devices run: %s", error.sentence)
                    await trio.sleep(RETRY_S)

    async def _tell_slots(self, user_id: int, device_id: str) -> None:
        if self._rooms.get(CHAT, user_room(user_id)) is None:
            await trio.lowlevel.checkpoint()
            return

        def work(unit: Unit) -> object:
            device = unit.device(user_id, device_id)
            return None if device is None else slots_of(unit, device)

        if (update := await self._store.read(work)) is not None:
            self._rooms.emit(CHAT, user_room(user_id), DEVICE_SLOT_UPDATE, update)
