"""Units over a connection of SQLAlchemy: knowledge bases and their documents."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, delete, literal, select, update

from wegent.core.errors import NotFound
from wegent.server.records import KnowledgeBase, KnowledgeDocument
from wegent.storage import rules
from wegent.storage import statements as sql
from wegent.storage.sql_base import SqlBase, found

B: Final = sql.BASES.c
D: Final = sql.DOCUMENTS.c
BASE: Final = select(*sql.BASE).where(B.id == bindparam("id"))
BASES: Final = (
    select(*sql.BASE)
    .where(B.user_id == bindparam("user"), B.id > bindparam("after"))
    .order_by(B.id)
    .limit(bindparam("limit"))
)
DOCUMENT: Final = select(*sql.DOCUMENT).where(D.id == bindparam("id"))
HEADS: Final = select(*(literal("") if column is D.text else column for column in sql.DOCUMENT))
TEXTS: Final = select(*sql.DOCUMENT)


class SqlKnowledge(SqlBase):
    """What is looked up for messages."""

    __slots__ = ()

    def knowledge_base(self, base_id: int) -> KnowledgeBase | None:
        return self._one(KnowledgeBase, BASE, id=base_id)

    def knowledge_bases(self, user_id: int, *, after_id: int = 0, limit: int = 100) -> list[KnowledgeBase]:
        return self._all(KnowledgeBase, BASES, user=user_id, after=after_id, limit=limit)

    def add_knowledge_base(self, *, user_id: int, name: str) -> KnowledgeBase:
        rules.check_texts({"title": name})
        now = self._clock.now()
        return self._insert(sql.BASES, KnowledgeBase(0, user_id, name, 1, 0, 0, created_at=now, updated_at=now))

    def change_knowledge_base(
        self, base_id: int, *, name: str | None = None, documents: int = 0, characters: int = 0
    ) -> KnowledgeBase:
        values: dict[Any, Any] = {
            B.version: B.version + 1,
            B.documents: B.documents + documents,
            B.characters: B.characters + characters,
            B.updated_at: self._clock.now(),
        }
        if name is not None:
            rules.check_texts({"title": name})
            values[B.name] = name
        self._write(update(sql.BASES).where(B.id == base_id).values(values))
        return found(self.knowledge_base(base_id), "knowledge base")

    def delete_knowledge_base(self, base_id: int) -> None:
        self._write(delete(sql.DOCUMENTS).where(D.base_id == base_id))
        if self._write(delete(sql.BASES).where(B.id == base_id)).rowcount == 0:
            raise NotFound("no such knowledge base")

    def knowledge_document(self, document_id: int) -> KnowledgeDocument | None:
        return self._one(KnowledgeDocument, DOCUMENT, id=document_id)

    def knowledge_documents(
        self, base_id: int, *, after_id: int = 0, limit: int = 100, texts: bool = False
    ) -> list[KnowledgeDocument]:
        statement = (TEXTS if texts else HEADS).where(D.base_id == base_id, D.id > after_id)
        return self._all(KnowledgeDocument, statement.order_by(D.id).limit(limit))

    def add_knowledge_document(self, *, base_id: int, title: str, text: str) -> KnowledgeDocument:
        rules.check_texts({"title": title, "text": text})
        now = self._clock.now()
        row = KnowledgeDocument(0, base_id, title, characters=len(text), created_at=now, text=text)
        return self._insert(sql.DOCUMENTS, row)

    def delete_knowledge_document(self, document_id: int) -> None:
        if self._write(delete(sql.DOCUMENTS).where(D.id == document_id)).rowcount == 0:
            raise NotFound("no such document")
