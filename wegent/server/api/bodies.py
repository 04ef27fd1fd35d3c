"""Bodies and answers that are JSON or YAML, as the caller says (RFC 9110, sections 8.3 and 12.5.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import trio
from quart import request
from quart_trio.wrappers import TrioResponse

from wegent.core.errors import InvalidPayload
from wegent.documents import DocumentError, read_documents, write_yaml
from wegent.server.api.calls import reply

T = TypeVar("T")
JSON = "application/json"
YAML = "application/yaml"
_YAML_NAMES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml")


class Documents:
    """Bodies are read and YAML is written in a worker thread, one at a time: a long text takes a second."""

    __slots__ = ("_limiter",)

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def read(self, make: Callable[[list[Any]], T]) -> T:
        """What `make` makes, in the thread too, of the body's documents (`wegent.documents.read_documents`).

        Raises:
            InvalidPayload: it is neither JSON nor YAML, or there are too many; `document` counts from 1.
        """
        data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        json = True if request.mimetype == JSON else False if request.mimetype in _YAML_NAMES else None

        def work() -> T:
            return make(read_documents(data, json=json))

        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except DocumentError as error:
            raise InvalidPayload(error.sentence, document=error.document) from None

    async def reply(self, value: Any, documents: Sequence[Any], status: int = 200, **headers: str) -> TrioResponse:
        """`value` as JSON, or `documents` as YAML where that is preferred."""
        if request.accept_mimetypes.best_match([JSON, *_YAML_NAMES], default=JSON) == JSON:
            response = reply(value, status, **headers)
        else:
            text = await trio.to_thread.run_sync(write_yaml, documents, limiter=self._limiter)
            response = reply({}, status, **headers)
            response.set_data(text)
            response.content_type = YAML
        response.headers["Vary"] = "Accept"
        return response


def only(documents: Sequence[Any]) -> Any:
    """The one document of a body that describes one thing.

    Raises:
        InvalidPayload: there is none, or there are several.
    """
    if len(documents) != 1:
        message = f"expected one document, got {len(documents)}"
        raise InvalidPayload(message)
    return documents[0]
