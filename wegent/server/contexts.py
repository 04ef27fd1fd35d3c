"""What goes with a message for the model to read: texts, attachments, and what plugins look up (protocol §3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wegent.core.errors import InvalidPayload, NotFound
from wegent.core.model import Principal
from wegent.core.text import clean
from wegent.protocol.chat import Attachment, AttachmentContext, ChatSend, Context, TextContext
from wegent.protocol.shape import to_wire
from wegent.server.ports.contexts import ContextProvider, Provided
from wegent.server.ports.store import Unit

ATTACHMENT = "attachment"
MOST_CONTEXTS = 50
"""Contexts and attachments of one message."""
MOST_TEXT = 400_000
"""Code points of contexts that a model is given at once: the newest message's first, then earlier ones'."""

Given = Sequence[Mapping[str, Any]]
"""Contexts as rows keep them; before the commit an attachment is its id alone."""


class Contexts:
    """Makes of what clients send what rows keep."""

    def __init__(self, providers: Mapping[str, ContextProvider] | None = None) -> None:
        self._providers = dict(providers or {})

    async def gather(self, principal: Principal, payload: ChatSend) -> Given:
        """The message's contexts, looked up; attachments are looked up by `attach`, in the commit.

        Raises:
            InvalidPayload: of a type that nobody provides, or too many.
            NotFound, AccessDenied: as the provider says.
        """
        asked, ids = payload.contexts or (), payload.attachment_ids or ()
        if len(asked) + len(ids) > MOST_CONTEXTS:
            message = f"`contexts`: expected at most {MOST_CONTEXTS} with the attachments, got {len(asked) + len(ids)}"
            raise InvalidPayload(message)
        given = [await self._one(principal, context, payload.message) for context in asked]
        known = {context["id"] for context in given if context["type"] == ATTACHMENT}
        return [*given, *({"type": ATTACHMENT, "id": each} for each in dict.fromkeys(ids) if each not in known)]

    async def _one(self, principal: Principal, context: Context, message: str) -> Mapping[str, Any]:
        wire: dict[str, Any] = to_wire(context)
        if isinstance(context, TextContext):
            return wire
        if isinstance(context, AttachmentContext):
            return {"type": ATTACHMENT, "id": context.id}
        provider = self._providers.get(wire["type"])
        if provider is None:
            kind = clean(str(wire["type"]))[:50]
            raise InvalidPayload(f"`contexts`: no plugin of this server provides contexts of type {kind!r}")
        found = await provider.provide(principal, context, message)
        text = clean(found.text)[: Provided.MOST]
        return {**wire, **found.fields, "type": wire["type"], "title": clean(found.title), "text": text}


def attach(unit: Unit, principal: Principal, given: Given, task_id: int) -> tuple[Mapping[str, Any], ...]:
    """The contexts as the message's row keeps them; the task carries its attachments from now on.

    Raises:
        NotFound: an attachment is not there, or not the principal's.
    """
    return tuple(_attached(unit, principal, each, task_id) if each["type"] == ATTACHMENT else each for each in given)


def _attached(unit: Unit, principal: Principal, given: Mapping[str, Any], task_id: int) -> Mapping[str, Any]:
    attachment_id = given["id"]
    row = unit.attachment(attachment_id)
    if row is None and "name" in given:
        return given  # of a message that was kept before, and is edited
    if row is None or row.user_id != principal.user_id:
        message = f"there is no attachment {attachment_id}"
        raise NotFound(message)
    unit.attach(row.id, task_id)
    told = Attachment(id=row.id, name=row.name, content_type=row.content_type, size=row.size)
    return {"type": ATTACHMENT, **to_wire(told)}


def attachments_of(contexts: Iterable[Mapping[str, Any]]) -> tuple[Attachment, ...]:
    """The attachments among a row's contexts."""
    return tuple(
        Attachment(id=each["id"], name=each["name"], content_type=each["content_type"], size=each["size"])
        for each in contexts
        if each["type"] == ATTACHMENT
    )


class ModelTexts:
    """What a model reads of messages and their contexts; all contexts together within a limit."""

    __slots__ = ("_left", "_unit")

    def __init__(self, unit: Unit, most: int = MOST_TEXT) -> None:
        self._unit = unit
        self._left = most

    def of(self, prompt: str, contexts: Iterable[Mapping[str, Any]]) -> str:
        """The message behind its contexts. Ask for the newest message first."""
        return "\n\n".join([*(self._fitted(text) for text in self._texts(contexts)), prompt])

    def _texts(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        for context in contexts:
            if context["type"] == ATTACHMENT:
                yield self._attachment(context)
            elif "title" in context and "text" in context:
                yield f"{context['title']}\n\n{context['text']}"

    def _attachment(self, context: Mapping[str, Any]) -> str:
        head = f"Attachment {context['id']}: {context['name']} ({context['content_type']}, {context['size']} bytes)"
        if self._left <= 0:
            return head
        row = self._unit.attachment(context["id"])
        if row is None:
            return f"{head}\n\n(It has been deleted.)"
        if row.unread is not None:
            return f"{head}\n\n(No text of it: {row.unread}.)"
        return f"{head}\n\n{row.text}" + ("\n\n(There is more of it.)" if row.cut else "")

    def _fitted(self, text: str) -> str:
        cut = text[: self._left]
        self._left -= len(cut)
        return cut if len(cut) == len(text) else f"{cut}\n\n(The rest is left out.)"
