"""What every store must do with knowledge bases."""

from __future__ import annotations

import pytest
import trio

from wegent.core.errors import InvalidPayload, NotFound
from wegent.server.ports.store import Store, Unit
from wegent.server.records import KnowledgeBase
from wegent.testing.store_scene import user


def base(unit: Unit) -> KnowledgeBase:
    """One of a new user's."""
    return unit.add_knowledge_base(user_id=user(unit).id, name="Handbook 📚")


class KnowledgeContract:
    """What is looked up for messages."""

    async def test_a_knowledge_base_is_made_changed_and_removed_with_its_documents(self, store: Store) -> None:
        made = await store.write(base)
        assert (made.name, made.version, made.documents, made.characters) == ("Handbook 📚", 1, 0, 0)
        changed = await store.write(
            lambda unit: unit.change_knowledge_base(made.id, name="Other", documents=2, characters=30)
        )
        assert (changed.name, changed.version, changed.documents, changed.characters) == ("Other", 2, 2, 30)
        again = await store.write(lambda unit: unit.change_knowledge_base(made.id, documents=-1, characters=-10))
        assert (again.name, again.version, again.documents, again.characters) == ("Other", 3, 1, 20)
        assert await store.read(lambda unit: unit.knowledge_base(made.id)) == again
        document = await store.write(lambda unit: unit.add_knowledge_document(base_id=made.id, title="t", text="x"))
        await store.write(lambda unit: unit.delete_knowledge_base(made.id))
        assert await store.read(lambda unit: unit.knowledge_base(made.id)) is None
        assert await store.read(lambda unit: unit.knowledge_document(document.id)) is None
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.delete_knowledge_base(made.id))
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.change_knowledge_base(made.id))

    async def test_documents_come_by_id_with_their_texts_where_asked_for(self, store: Store) -> None:
        made, other = await store.write(lambda unit: (base(unit), base(unit)))
        texts = ["näheres 🌱" * 30_000, "", "c"]
        rows = await store.write(
            lambda unit: [unit.add_knowledge_document(base_id=made.id, title="t", text=text) for text in texts]
        )
        assert [row.characters for row in rows] == [len(text) for text in texts]
        assert await store.read(lambda unit: unit.knowledge_documents(made.id, texts=True)) == rows
        heads = await store.read(lambda unit: unit.knowledge_documents(made.id, after_id=rows[0].id, limit=1))
        assert [(row.id, row.text) for row in heads] == [(rows[1].id, "")]
        assert await store.read(lambda unit: unit.knowledge_document(rows[0].id)) == rows[0]
        assert await store.read(lambda unit: unit.knowledge_documents(other.id)) == []
        await store.write(lambda unit: unit.delete_knowledge_document(rows[1].id))
        assert await store.read(lambda unit: len(unit.knowledge_documents(made.id))) == 2

    async def test_knowledge_bases_are_a_users_own(self, store: Store) -> None:
        first, second = await store.write(lambda unit: (base(unit), base(unit)))
        third = await store.write(lambda unit: unit.add_knowledge_base(user_id=first.user_id, name="b"))
        assert await store.read(lambda unit: unit.knowledge_bases(first.user_id)) == [first, third]
        assert await store.read(lambda unit: unit.knowledge_bases(first.user_id, after_id=first.id)) == [third]
        assert await store.read(lambda unit: unit.knowledge_bases(second.user_id)) == [second]

    async def test_changes_at_once_are_all_counted(self, store: Store) -> None:
        made = await store.write(base)

        async def change() -> None:
            await store.write(lambda unit: unit.change_knowledge_base(made.id, characters=3))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(change)
        row = await store.read(lambda unit: unit.knowledge_base(made.id))
        assert row is not None
        assert (row.version, row.characters) == (21, 60)

    async def test_knowledge_that_cannot_be_kept_is_refused(self, store: Store) -> None:
        made = await store.write(base)
        with pytest.raises(InvalidPayload):
            await store.write(lambda unit: unit.add_knowledge_document(base_id=made.id, title="t", text="a\0"))
        with pytest.raises(NotFound):
            await store.write(lambda unit: unit.add_knowledge_base(user_id=2**52, name="x"))
