"""What every store must do with attachments."""

from __future__ import annotations

import pytest

from wegent.core.errors import InvalidPayload, NotFound
from wegent.server.ports.store import Store, Unit
from wegent.server.records import Attachment, User
from wegent.testing.store_scene import scene, task, user


def attachment(unit: Unit, owner: User, **fields: object) -> Attachment:
    """A file of some bytes."""
    given = {"user_id": owner.id, "name": "notes.txt", "size": 5, "blob": "b", **fields}
    return unit.add_attachment(**given)  # type: ignore[arg-type]


class AttachmentsContract:
    """What was uploaded, and which tasks carry it."""

    async def test_an_attachment_is_made_then_removed(self, store: Store) -> None:
        owner = await store.write(user)
        fields = {"name": "überäll 📄.pdf", "size": 2**40, "content_type": "application/pdf", "text": "x" * 300_000}
        made = await store.write(lambda unit: attachment(unit, owner, **fields, cut=True, unread="no reason"))
        assert {name: getattr(made, name) for name in fields} == fields
        assert (made.cut, made.unread, made.user_id) == (True, "no reason", owner.id)
        assert await store.read(lambda unit: unit.attachment(made.id)) == made
        await store.write(lambda unit: unit.delete_attachment(made.id))
        assert await store.read(lambda unit: unit.attachment(made.id)) is None
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.delete_attachment(made.id))

    async def test_sizes_are_summed_by_user(self, store: Store) -> None:
        owner, other = await store.write(lambda unit: (user(unit), user(unit)))
        for size in (3, 2**33):
            await store.write(lambda unit, size=size: attachment(unit, owner, size=size))  # type: ignore[misc]
        assert await store.read(lambda unit: unit.attachments_size(owner.id)) == 2**33 + 3
        assert await store.read(lambda unit: unit.attachments_size(other.id)) == 0

    async def test_tasks_carry_attachments(self, store: Store) -> None:
        owner, first, _ = await scene(store)

        def work(unit: Unit) -> tuple[Attachment, int]:
            made, second = attachment(unit, owner), task(unit, owner)
            for each in (second.id, first.id, second.id):
                unit.attach(made.id, each)
            return made, second.id

        made, second = await store.write(work)
        assert await store.read(lambda unit: unit.carriers(made.id)) == [first.id, second]
        await store.write(lambda unit: unit.delete_attachment(made.id))
        assert await store.read(lambda unit: unit.carriers(made.id)) == []

    async def test_an_attachment_that_cannot_be_kept_is_refused(self, store: Store) -> None:
        owner = await store.write(user)
        with pytest.raises(InvalidPayload):
            await store.write(lambda unit: attachment(unit, owner, text="a\0b"))
        with pytest.raises(TypeError):
            await store.write(lambda unit: attachment(unit, owner, nonsense=1))
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.add_attachment(user_id=2**52, name="x", size=1, blob="b"))
