"""Bodies and answers that are JSON or YAML, as the caller says (RFC 9110, sections 8.3 and 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import trio
from quart import request
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import InvalidPayload
from wegent.documents import DocumentError, read_documents, write_yaml
from wegent.protocol.shape import to_wire
from wegent.server.api.calls import reply

JSON = "application/json"
YAML = "application/yaml"
_YAML_NAMES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml")


class Documents:
    """Reads and writes YAML in a worker thread, one text at a time: a long one takes a second."""

    __slots__ = ("_limiter",)

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def read(self) -> list[Any]:
        """The body's documents (`wegent.documents.read_documents`).

        Raises:
            InvalidPayload: it is neither, or there are too many; `document` counts from 1.
        """
        data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        json = True if request.mimetype == JSON else False if request.mimetype in _YAML_NAMES else None
        try:
            return await trio.to_thread.run_sync(partial(read_documents, data, json=json), limiter=self._limiter)
        except DocumentError as error:
            raise InvalidPayload(error.sentence, document=error.document) from None

    async def read_one(self) -> Any:
        """The body's one document."""
        documents = await self.read()
        if len(documents) != 1:
            message = f"expected one document, got {len(documents)}"
            raise InvalidPayload(message)
        return documents[0]

    async def reply(self, value: Any, documents: Sequence[Any], status: int = 200, **headers: str) -> TrioResponse:
        """`value` as JSON, or `documents` as YAML where that is preferred."""
        if request.accept_mimetypes.best_match([JSON, *_YAML_NAMES], default=JSON) == JSON:
            response = reply(value, status, **headers)
        else:
            plain = [to_wire(each) for each in documents]
            text = await trio.to_thread.run_sync(write_yaml, plain, limiter=self._limiter)
            response = reply({}, status, **headers)
            response.set_data(text)
            response.content_type = YAML
        response.headers["Vary"] = "Accept"
        return response
