"""What every store must do with devices."""

from __future__ import annotations

import pytest

from wegent.core.errors import InvalidPayload, NotFound
from wegent.server.ports.store import Store
from wegent.testing.store_scene import NOON, unique, user


class DevicesContract:
    """Users' own machines."""

    async def test_a_device_is_made_then_changed_then_removed(self, store: Store) -> None:
        owner = await store.write(user)
        made = await store.write(lambda unit: unit.put_device(owner.id, "box"))
        assert (made.user_id, made.device_id, made.name, made.slot_max) == (owner.id, "box", "box", 5)
        assert (made.status, made.is_default, made.connection, made.offline_since) == ("offline", False, None, None)
        changes = {
            "name": "🖥 Büro",
            "status": "online",
            "connection": "w.sid",
            "capabilities": {"gpu": [1, None]},
            "seen_at": NOON,
            "offline_since": NOON,
            "is_default": True,
            "executor_version": "1.0",
        }
        changed = await store.write(lambda unit: unit.put_device(owner.id, "box", **changes))
        assert {name: getattr(changed, name) for name in changes} == changes
        assert (changed.created_at, changed.slot_max) == (made.created_at, 5)
        assert await store.read(lambda unit: unit.device(owner.id, "box")) == changed
        assert await store.write(lambda unit: unit.put_device(owner.id, "box")) == changed
        back = await store.write(lambda unit: unit.put_device(owner.id, "box", offline_since=None, capabilities=None))
        assert (back.offline_since, back.capabilities) == (None, None)
        await store.write(lambda unit: unit.delete_device(owner.id, "box"))
        assert await store.read(lambda unit: unit.device(owner.id, "box")) is None
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.delete_device(owner.id, "box"))

    async def test_devices_are_a_users_own_and_their_ids_equal_to_the_letter(self, store: Store) -> None:
        owner, other = await store.write(lambda unit: (user(unit), user(unit)))
        names = ["box", "Box", "box ", "bóx"]
        made = [
            await store.write(lambda unit, each=each: unit.put_device(owner.id, each, slot_max=2))  # type: ignore[misc]
            for each in names
        ]
        theirs = await store.write(lambda unit: unit.put_device(other.id, "box"))
        assert await store.read(lambda unit: unit.devices(owner.id)) == made
        assert await store.read(lambda unit: unit.devices(other.id)) == [theirs]

    async def test_devices_that_are_connected_or_not_called_offline_are_present(self, store: Store) -> None:
        owner, other = await store.write(lambda unit: (user(unit), user(unit)))
        for who, device_id, connection, status in (
            (owner, "connected", "w.1", "busy"),
            (other, "calls itself offline", "w.2", "offline"),
            (owner, "in its grace", None, "online"),
            (owner, "offline", None, "offline"),
        ):
            changes = {"connection": connection, "status": status}
            await store.write(lambda unit, args=(who.id, device_id), to=changes: unit.put_device(*args, **to))  # type: ignore[misc]
        present = await store.read(lambda unit: unit.present_devices())
        found = {each.device_id for each in present if each.user_id in (owner.id, other.id)}
        assert found == {"connected", "calls itself offline", "in its grace"}

    async def test_a_device_that_cannot_be_kept_is_refused(self, store: Store) -> None:
        owner = await store.write(user)
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.put_device(2**52, unique("d")))
        with pytest.raises(InvalidPayload):
            await store.write(lambda unit: unit.put_device(owner.id, "a\0b"))
        with pytest.raises(InvalidPayload, match="device_id"):
            await store.write(lambda unit: unit.put_device(owner.id, "x" * 256))
        with pytest.raises(TypeError):
            await store.write(lambda unit: unit.put_device(owner.id, "box", nonsense=1))
