"""Web search through a SearXNG instance, or what speaks as one does (`/search?format=json`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import trio
from attrs import field, frozen
from attrs.validators import gt

from wegent.codec import CodecError, decode_loose
from wegent.core.config import Secret
from wegent.core.text import clean
from wegent.engines.failures import Refusal
from wegent.engines.http import Pool, PoolConfig, Reply, endpoint, open_pool, post
from wegent.server.ports.search import Found, Search
from wegent.server.ports.tool import ToolFailed

MOST_BODY = 4_000_000
MOST_TEXT = 1_000
"""Code points of a result's text."""


@frozen(kw_only=True)
class SearxngConfig:
    """Where the instance is; its settings must allow the format `json`.

    Attributes:
        url: its address, without `/search`.
        token: sent as a bearer token, where a proxy before it wants one.
        language, categories, safesearch: as the instance takes them; empty: its own choice.
        timeout_s: seconds of one search.
    """

    url: str = "http://127.0.0.1:8080"
    token: Secret | None = field(default=None, repr=False)
    language: str = ""
    categories: str = ""
    safesearch: int | None = None
    timeout_s: float = field(default=15.0, validator=gt(0))
    pool: PoolConfig = field(factory=lambda: PoolConfig(max_connections=20, max_idle=5))


class SearxngSearch(Search):
    """See `Search`. Made by `open`."""

    __slots__ = ("_config", "_pool")

    def __init__(self, pool: Pool, config: SearxngConfig) -> None:
        self._pool = pool
        self._config = config

    @classmethod
    @asynccontextmanager
    async def open(cls, config: SearxngConfig) -> AsyncIterator[SearxngSearch]:
        """A search with a pool of its own, which is closed on leaving."""
        async with open_pool(config.pool) as pool:
            yield cls(pool, config)

    async def find(self, query: str, limit: int) -> list[Found]:
        """See `Search.find`."""
        try:
            with trio.move_on_after(self._config.timeout_s):
                return _results(await self._ask(query), limit)
        except Refusal as error:
            raise ToolFailed(f"The web search failed: {error.sentence}") from error
        raise ToolFailed(f"The web search did not answer within {self._config.timeout_s:g} seconds.")

    async def _ask(self, query: str) -> Any:
        config = self._config
        url, host = endpoint(config.url, "/search")
        fields = {"q": query, "format": "json", "language": config.language, "categories": config.categories}
        if config.safesearch is not None:
            fields["safesearch"] = str(config.safesearch)
        body = urlencode({name: value for name, value in fields.items() if value}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if config.token:
            headers["authorization"] = f"Bearer {config.token}"
        async with post(
            self._pool, url, host=host, headers=headers, body=body, connect_timeout=config.timeout_s
        ) as reply:
            return await _decoded(reply, host)


async def _decoded(reply: Reply, host: str) -> Any:
    if reply.status != 200:
        advice = " Does its configuration allow the format json?" if reply.status == 403 else ""
        raise Refusal(f"{host} answered with status {reply.status}.{advice}")
    try:
        return decode_loose(await reply.body(MOST_BODY))
    except CodecError as error:
        raise Refusal(f"{host} answered with something that is no JSON. Is it a SearXNG instance?") from error


def _results(body: Any, limit: int) -> list[Found]:
    results = body.get("results") if isinstance(body, Mapping) else None
    if not isinstance(results, list):
        raise Refusal("the answer holds no results. Is it a SearXNG instance?")
    found = [_found(each) for each in results if isinstance(each, Mapping)]
    return [each for each in found if each.url][:limit]


def _found(result: Mapping[str, Any]) -> Found:
    title, url, text = (result.get(name) for name in ("title", "url", "content"))
    return Found(_line(title), _line(url), _line(text))


def _line(value: Any) -> str:
    return " ".join(clean(value).split())[:MOST_TEXT] if isinstance(value, str) else ""
