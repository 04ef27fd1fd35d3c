"""The tool that searches the web."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wegent.protocol.chat_shell import ToolDefinition
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Asked, Report, Tool, ToolFailed

MOST_RESULTS = 10
MOST_QUERY = 400
"""Code points of what is searched for."""

_DEFINITION = ToolDefinition(
    name="web_search",
    description="Search the web. Returns titles, addresses and excerpts of pages; name the addresses that you rest on.",
    parameters={
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "what to search for"},
            "limit": {"type": "integer", "minimum": 1, "maximum": MOST_RESULTS, "description": "results; default 5"},
        },
        "required": ["query"],
    },
)


class WebSearch(Tool):
    """Has a model search through the `Search` port."""

    __slots__ = ("_search",)

    def __init__(self, search: Search) -> None:
        self._search = search

    @property
    def definition(self) -> ToolDefinition:
        """See `Tool.definition`."""
        return _DEFINITION

    async def use(self, arguments: Mapping[str, Any], asked: Asked, report: Report) -> Any:
        """See `Tool.use`."""
        query, limit = arguments.get("query"), arguments.get("limit", 5)
        if not isinstance(query, str) or not 0 < len(query.strip()) <= MOST_QUERY:
            raise ToolFailed(f"`query` should be text of 1 to {MOST_QUERY} characters.")
        limit = max(1, min(limit, MOST_RESULTS)) if isinstance(limit, int) else 5
        found = await self._search.find(query.strip(), limit)
        return [{"title": each.title, "url": each.url, "text": each.text} for each in found[:limit]]
