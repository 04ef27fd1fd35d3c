"""Knowledge bases: documents of a user that are searched for messages."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import gt

from wegent.core.errors import Conflict, InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.protocol.knowledge import NewDocument
from wegent.server.attachments import own_attachment
from wegent.server.conditions import Condition, anything
from wegent.server.ports.store import Store, Unit
from wegent.server.records import KnowledgeBase, KnowledgeDocument


@frozen(kw_only=True)
class KnowledgeLimits:
    """Bases of a user, documents of a base, code points of all of them."""

    bases: int = field(default=50, validator=gt(0))
    documents: int = field(default=1_000, validator=gt(0))
    characters: int = field(default=2_000_000, validator=gt(0))


class KnowledgeBases:
    """What people do with their bases. Everything raises `NotFound` for what is not there, or somebody else's."""

    def __init__(self, store: Store, limits: KnowledgeLimits) -> None:
        self._store = store
        self._limits = limits

    async def page(self, principal: Principal, *, after_id: int, limit: int) -> list[KnowledgeBase]:
        """The principal's, by id."""
        return await self._store.read(
            lambda unit: unit.knowledge_bases(principal.user_id, after_id=after_id, limit=limit)
        )

    async def get(self, principal: Principal, base_id: int) -> KnowledgeBase:
        """One of them."""
        return await self._store.read(lambda unit: own_base(unit, principal, base_id))

    async def make(self, principal: Principal, name: str) -> KnowledgeBase:
        """An empty one.

        Raises:
            Conflict: the user has as many as may be.
        """

        def work(unit: Unit) -> KnowledgeBase:
            most = self._limits.bases
            if len(unit.knowledge_bases(principal.user_id, limit=most)) >= most:
                message = f"you have {most} knowledge bases, which is as many as may be"
                raise Conflict(message)
            return unit.add_knowledge_base(user_id=principal.user_id, name=name)

        return await self._store.write(work)

    async def rename(
        self, principal: Principal, base_id: int, name: str, condition: Condition[KnowledgeBase] = anything
    ) -> KnowledgeBase:
        """The base under its new name. Raises what `condition` does, too."""

        def work(unit: Unit) -> KnowledgeBase:
            own_base(unit, principal, base_id)
            condition(unit.change_knowledge_base(base_id))
            return unit.change_knowledge_base(base_id, name=name)

        return await self._store.write(work)

    async def delete(self, principal: Principal, base_id: int, condition: Condition[KnowledgeBase] = anything) -> None:
        """Away with it and its documents; messages keep what was found in them. Raises as `rename`."""

        def work(unit: Unit) -> None:
            own_base(unit, principal, base_id)
            condition(unit.change_knowledge_base(base_id))
            unit.delete_knowledge_base(base_id)

        await self._store.write(work)

    async def documents(
        self, principal: Principal, base_id: int, *, after_id: int, limit: int
    ) -> list[KnowledgeDocument]:
        """The base's, by id, without their texts."""

        def read(unit: Unit) -> list[KnowledgeDocument]:
            own_base(unit, principal, base_id)
            return unit.knowledge_documents(base_id, after_id=after_id, limit=limit)

        return await self._store.read(read)

    async def document(self, principal: Principal, base_id: int, document_id: int) -> KnowledgeDocument:
        """One, with its text."""
        return await self._store.read(lambda unit: _document(unit, principal, base_id, document_id))

    async def add(self, principal: Principal, base_id: int, asked: NewDocument) -> KnowledgeDocument:
        """A further document.

        Raises:
            InvalidPayload: there is nothing to search in it.
            Conflict: the base has as much as may be.
        """
        if (asked.text is None) == (asked.attachment_id is None):
            raise InvalidPayload("expected `text` with `title`, or `attachment_id`")

        def work(unit: Unit) -> KnowledgeDocument:
            own_base(unit, principal, base_id)
            title, text = _read(unit, principal, asked)
            base = unit.change_knowledge_base(base_id, documents=1, characters=len(text))
            self._check(base)
            return unit.add_knowledge_document(base_id=base_id, title=title, text=text)

        return await self._store.write(work)

    async def remove(self, principal: Principal, base_id: int, document_id: int) -> None:
        """Away with a document."""

        def work(unit: Unit) -> None:
            own_base(unit, principal, base_id)
            unit.change_knowledge_base(base_id)
            row = _document(unit, principal, base_id, document_id)
            unit.change_knowledge_base(base_id, documents=-1, characters=-row.characters)
            unit.delete_knowledge_document(row.id)

        await self._store.write(work)

    def _check(self, base: KnowledgeBase) -> None:
        if base.documents > self._limits.documents:
            message = f"a knowledge base has at most {self._limits.documents} documents"
            raise Conflict(message)
        if base.characters > self._limits.characters:
            message = f"the documents of a knowledge base have at most {self._limits.characters} characters together"
            raise Conflict(message)


def own_base(unit: Unit, principal: Principal, base_id: int) -> KnowledgeBase:
    """The principal's base.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    row = unit.knowledge_base(base_id)
    if row is None or row.user_id != principal.user_id:
        message = f"there is no knowledge base {base_id}"
        raise NotFound(message)
    return row


def _document(unit: Unit, principal: Principal, base_id: int, document_id: int) -> KnowledgeDocument:
    own_base(unit, principal, base_id)
    row = unit.knowledge_document(document_id)
    if row is None or row.base_id != base_id:
        message = f"knowledge base {base_id} has no document {document_id}"
        raise NotFound(message)
    return row


def _read(unit: Unit, principal: Principal, asked: NewDocument) -> tuple[str, str]:
    """A new document's title and text."""
    if asked.attachment_id is None:
        title, text = asked.title, asked.text or ""
        if title is None:
            raise InvalidPayload("`title`: expected one for the text, got none")
    else:
        row = own_attachment(unit, principal, asked.attachment_id)
        title, text = asked.title or row.name, row.text
    if not text.strip():
        raise InvalidPayload("the document: expected some text in it, got none")
    return title, text
