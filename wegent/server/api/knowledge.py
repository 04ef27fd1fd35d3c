"""Knowledge bases over REST."""

from __future__ import annotations

from typing import Any

from quart import Blueprint
from quart_trio.wrappers import TrioResponse

from wegent.core.ports.auth import Auth
from wegent.protocol.knowledge import DocumentItem, KnowledgeBaseItem, NewDocument, NewKnowledgeBase
from wegent.protocol.tasks import Success
from wegent.server.api import query
from wegent.server.api.calls import PREFIX, path_id, principal, protect, read_body, reply
from wegent.server.api.conditions import condition_on, etag, version_of
from wegent.server.api.describing import IF_MATCH, Items, describes, paged
from wegent.server.knowledge import KnowledgeBases
from wegent.server.records import KnowledgeBase, KnowledgeDocument

PAGE = 50
MAX_PAGE = 200


def base_item(row: KnowledgeBase) -> KnowledgeBaseItem:
    """A base as lists tell of it."""
    return KnowledgeBaseItem(
        id=row.id,
        name=row.name,
        documents=row.documents,
        characters=row.characters,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def base_version(row: KnowledgeBase) -> str:
    """Of a base but for its documents, which are changed by calls of their own."""
    return version_of(row.id, row.created_at, row.name)  # SQLite gives the id of a deleted row anew


def document_item(row: KnowledgeDocument, *, whole: bool = False) -> DocumentItem:
    """A document, `whole` with its text."""
    return DocumentItem(
        id=row.id,
        title=row.title,
        characters=row.characters,
        created_at=row.created_at,
        text=row.text if whole else None,
    )


def knowledge_blueprint(bases: KnowledgeBases, auth: Auth) -> Blueprint:
    """`/knowledge-bases` and what is below it; everybody sees their own."""
    blueprint = Blueprint("knowledge", __name__, url_prefix=f"{PREFIX}/knowledge-bases")
    protect(blueprint, auth)

    @blueprint.get("")
    @describes("One's knowledge bases", answers=Items(KnowledgeBaseItem), query=paged(MAX_PAGE))
    async def list_bases() -> TrioResponse:
        limit, after = _asked()
        return reply(
            _list([base_item(row) for row in await bases.page(principal(), after_id=after, limit=limit + 1)], limit)
        )

    @blueprint.post("")
    @describes("Make a knowledge base", takes=NewKnowledgeBase, answers={201: KnowledgeBaseItem})
    async def make() -> TrioResponse:
        row = await bases.make(principal(), (await read_body(NewKnowledgeBase)).name)
        return _answer(row, 201, Location=f"{PREFIX}/knowledge-bases/{row.id}")

    @blueprint.get("/<base_id>")
    @describes("A knowledge base", answers=KnowledgeBaseItem)
    async def one(base_id: str) -> TrioResponse:
        return _answer(await bases.get(principal(), _base(base_id)))

    @blueprint.put("/<base_id>")
    @describes("Rename a knowledge base", takes=NewKnowledgeBase, answers=KnowledgeBaseItem, query=(IF_MATCH,))
    async def rename(base_id: str) -> TrioResponse:
        asked = await read_body(NewKnowledgeBase)
        return _answer(await bases.rename(principal(), _base(base_id), asked.name, condition_on(base_version)))

    @blueprint.delete("/<base_id>")
    @describes("Delete a knowledge base and its documents", query=(IF_MATCH,))
    async def delete(base_id: str) -> TrioResponse:
        await bases.delete(principal(), _base(base_id), condition_on(base_version))
        return reply(Success())

    @blueprint.get("/<base_id>/documents")
    @describes("Its documents, without their texts", answers=Items(DocumentItem), query=paged(MAX_PAGE))
    async def documents(base_id: str) -> TrioResponse:
        limit, after = _asked()
        rows = await bases.documents(principal(), _base(base_id), after_id=after, limit=limit + 1)
        return reply(_list([document_item(row) for row in rows], limit))

    @blueprint.post("/<base_id>/documents")
    @describes("Add a document", takes=NewDocument, answers={201: DocumentItem})
    async def add(base_id: str) -> TrioResponse:
        row = await bases.add(principal(), _base(base_id), await read_body(NewDocument))
        location = f"{PREFIX}/knowledge-bases/{row.base_id}/documents/{row.id}"
        return reply(document_item(row), 201, Location=location)

    @blueprint.get("/<base_id>/documents/<document_id>")
    @describes("A document with its text", answers=DocumentItem)
    async def document(base_id: str, document_id: str) -> TrioResponse:
        asked = path_id(document_id, "document")
        return reply(document_item(await bases.document(principal(), _base(base_id), asked), whole=True))

    @blueprint.delete("/<base_id>/documents/<document_id>")
    @describes("Remove a document")
    async def remove(base_id: str, document_id: str) -> TrioResponse:
        await bases.remove(principal(), _base(base_id), path_id(document_id, "document"))
        return reply(Success())

    return blueprint


def _answer(row: KnowledgeBase, status: int = 200, **headers: str) -> TrioResponse:
    return reply(base_item(row), status, ETag=etag(base_version(row)), **headers)


def _base(text: str) -> int:
    return path_id(text, "knowledge base")


def _asked() -> tuple[int, int]:
    place = query.cursor(tuple[int])
    return query.number("limit", PAGE, most=MAX_PAGE), 0 if place is None else place[0]


def _list(items: list[Any], limit: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"items": items[:limit]}
    if len(items) > limit:
        answer["next_cursor"] = query.next_cursor(items[limit - 1].id)
    return answer
