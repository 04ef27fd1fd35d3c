"""The context `knowledge_base`: passages of one's documents that fit the message."""

from __future__ import annotations

from collections import OrderedDict

import trio

from wegent.core.errors import InvalidPayload
from wegent.core.model import Principal
from wegent.knowledge.index import Found, Index
from wegent.protocol.chat import Context, KnowledgeBaseContext
from wegent.server.knowledge import own_base
from wegent.server.ports.contexts import ContextProvider, Provided
from wegent.server.ports.store import Store, Unit
from wegent.server.records import KnowledgeBase, KnowledgeDocument

PAGE = 50


class KnowledgeProvider(ContextProvider):
    """Searches bases; the indexes used last are kept, and made anew when a base has changed."""

    __slots__ = ("_indexes", "_kept", "_making", "_passages", "_store")

    def __init__(self, store: Store, *, passages: int = 8, kept: int = 8) -> None:
        """`passages` are given to a model, the indexes of `kept` bases are kept."""
        self._store = store
        self._passages = passages
        self._kept = kept
        self._indexes: OrderedDict[int, tuple[int, Index]] = OrderedDict()
        self._making = trio.Lock()

    async def provide(self, principal: Principal, context: Context, message: str) -> Provided:
        """The passages that fit the message best, best first.

        Raises:
            NotFound: there is no such base, or it is somebody else's.
        """
        if not isinstance(context, KnowledgeBaseContext):
            raise InvalidPayload("`contexts`: expected the `id` of a knowledge base")
        base = await self._store.read(lambda unit: own_base(unit, principal, context.id))
        async with self._making:  # one at a time: more threads would only slow down the loop
            index = await self._index(base)
            found = await trio.to_thread.run_sync(index.search, message, self._passages)
        return _provided(base, found)

    async def _index(self, base: KnowledgeBase) -> Index:
        version, index = self._indexes.get(base.id, (0, None))
        if index is None or version != base.version:
            documents = [(row.title, row.text) for row in await self._documents(base.id)]
            index = await trio.to_thread.run_sync(Index, documents)
            self._indexes[base.id] = base.version, index
        self._indexes.move_to_end(base.id)
        while len(self._indexes) > self._kept:
            self._indexes.popitem(last=False)
        return index

    async def _documents(self, base_id: int) -> list[KnowledgeDocument]:
        found: list[KnowledgeDocument] = []
        while True:
            after = found[-1].id if found else 0

            def read(unit: Unit, after: int = after) -> list[KnowledgeDocument]:
                return unit.knowledge_documents(base_id, after_id=after, limit=PAGE, texts=True)

            page = await self._store.read(read)
            found += page
            if len(page) < PAGE:
                return found


def _provided(base: KnowledgeBase, found: list[Found]) -> Provided:
    texts = [f"[{each.passage.title}]\n{each.passage.text}" for each in found]
    titles = list(dict.fromkeys(each.passage.title for each in found))
    return Provided(
        title=f"Found in the knowledge base {base.name}",
        text="\n\n".join(texts) or "(Nothing there fits the message.)",
        fields={"name": base.name, "documents": titles},
    )
