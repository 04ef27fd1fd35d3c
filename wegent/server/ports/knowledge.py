"""Rows of knowledge bases and their documents, as units of the store give and take them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from wegent.server.records import KnowledgeBase, KnowledgeDocument


class KnowledgeRows(ABC):
    """What a unit can do with knowledge bases; part of `Unit`, whose rules hold.

    Every unit that changes documents of a base calls `change_knowledge_base` first: that serialises its writers, and
    gives what was made of it a version.
    """

    __slots__ = ()

    @abstractmethod
    def knowledge_base(self, base_id: int) -> KnowledgeBase | None: ...

    @abstractmethod
    def knowledge_bases(self, user_id: int, *, after_id: int = 0, limit: int = 100) -> list[KnowledgeBase]:
        """The user's, by id."""

    @abstractmethod
    def add_knowledge_base(self, *, user_id: int, name: str) -> KnowledgeBase:
        """An empty one of version 1. Raises `NotFound` where there is no such user."""

    @abstractmethod
    def change_knowledge_base(
        self, base_id: int, *, name: str | None = None, documents: int = 0, characters: int = 0
    ) -> KnowledgeBase:
        """Raise the version by one and the counts by so much, rename it where a name is given.

        Raises:
            NotFound: no such base.
        """

    @abstractmethod
    def delete_knowledge_base(self, base_id: int) -> None:
        """With its documents."""

    @abstractmethod
    def knowledge_document(self, document_id: int) -> KnowledgeDocument | None: ...

    @abstractmethod
    def knowledge_documents(
        self, base_id: int, *, after_id: int = 0, limit: int = 100, texts: bool = False
    ) -> list[KnowledgeDocument]:
        """Those of a base, by id; their texts are left out unless asked for."""

    @abstractmethod
    def add_knowledge_document(self, *, base_id: int, title: str, text: str) -> KnowledgeDocument: ...

    @abstractmethod
    def delete_knowledge_document(self, document_id: int) -> None: ...
