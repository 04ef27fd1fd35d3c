"""Units over the tables in memory: knowledge bases and their documents."""

from __future__ import annotations

import attrs

from wegent.server.records import KnowledgeBase, KnowledgeDocument
from wegent.storage import rules
from wegent.storage.memory_base import MemoryBase, found


class MemoryKnowledge(MemoryBase):
    """What is looked up for messages."""

    __slots__ = ()

    def knowledge_base(self, base_id: int) -> KnowledgeBase | None:
        return self._read().bases.get(base_id)

    def knowledge_bases(self, user_id: int, *, after_id: int = 0, limit: int = 100) -> list[KnowledgeBase]:
        rows = (row for row in self._read().bases.values() if row.user_id == user_id and row.id > after_id)
        return sorted(rows, key=lambda row: row.id)[:limit]

    def add_knowledge_base(self, *, user_id: int, name: str) -> KnowledgeBase:
        t = self._write()
        found(t.users.get(user_id), "user")
        rules.check_texts({"title": name})
        now = self._clock.now()
        row = KnowledgeBase(t.next_id("bases"), user_id, name, 1, 0, 0, created_at=now, updated_at=now)
        return t.put(t.bases, row.id, row)

    def change_knowledge_base(
        self, base_id: int, *, name: str | None = None, documents: int = 0, characters: int = 0
    ) -> KnowledgeBase:
        t = self._write()
        row = found(t.bases.get(base_id), "knowledge base")
        if name is not None:
            rules.check_texts({"title": name})
        changed = attrs.evolve(
            row,
            name=row.name if name is None else name,
            version=row.version + 1,
            documents=row.documents + documents,
            characters=row.characters + characters,
            updated_at=self._clock.now(),
        )
        return t.put(t.bases, base_id, changed)

    def delete_knowledge_base(self, base_id: int) -> None:
        t = self._write()
        found(t.bases.get(base_id), "knowledge base")
        for row in [row for row in t.documents.values() if row.base_id == base_id]:
            t.drop(t.documents, row.id)
        t.drop(t.bases, base_id)

    def knowledge_document(self, document_id: int) -> KnowledgeDocument | None:
        return self._read().documents.get(document_id)

    def knowledge_documents(
        self, base_id: int, *, after_id: int = 0, limit: int = 100, texts: bool = False
    ) -> list[KnowledgeDocument]:
        rows = (row for row in self._read().documents.values() if row.base_id == base_id and row.id > after_id)
        page = sorted(rows, key=lambda row: row.id)[:limit]
        return page if texts else [attrs.evolve(row, text="") for row in page]

    def add_knowledge_document(self, *, base_id: int, title: str, text: str) -> KnowledgeDocument:
        t = self._write()
        rules.check_texts({"title": title, "text": text})
        found(t.bases.get(base_id), "knowledge base")
        now = self._clock.now()
        row = KnowledgeDocument(t.next_id("documents"), base_id, title, len(text), created_at=now, text=text)
        return t.put(t.documents, row.id, row)

    def delete_knowledge_document(self, document_id: int) -> None:
        t = self._write()
        t.drop(t.documents, found(t.documents.get(document_id), "document").id)
