"""Which tools an answer may use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack

from wegent.core.ports.executor import Sink
from wegent.executors.tool_loop import ToolLimits, ToolLoop
from wegent.executors.web_search import WebSearch
from wegent.protocol.chat_shell import ResponseRequest
from wegent.server.ports.engine import Completion, Engine
from wegent.server.ports.search import Search
from wegent.server.ports.tool import Asked, Tool, ToolSource

MOST_TOOLS = 128
"""Tools that a model is told of at most; providers take no more."""


class Toolbox:
    """The tools of a deployment. With deep thinking an answer may use them; the web search where that is wanted."""

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        sources: Iterable[ToolSource] = (),
        search: Search | None = None,
        limits: ToolLimits | None = None,
    ) -> None:
        self._tools = tuple(tools)
        self._sources = tuple(sources)
        self._search = search
        self._limits = limits or ToolLimits()

    async def answer(self, engine: Engine, request: ResponseRequest, asked: Asked, sink: Sink) -> Completion:
        """Have an engine answer, with the tools that there are for this answer.

        Raises:
            RunFailed: as `Engine.run`, or tools can't be had.
        """
        failure: Exception | None = None
        async with AsyncExitStack() as stack:
            tools = self._own(asked)
            if asked.deep_thinking:
                for source in self._sources:
                    tools = {**_named(await stack.enter_async_context(source.open(asked))), **tools}
            try:  # a source may hold a nursery, which would put what is raised here into a group
                return await self._answer(engine, request, asked, sink, dict(list(tools.items())[:MOST_TOOLS]))
            except Exception as error:
                failure = error
        raise failure

    async def _answer(
        self, engine: Engine, request: ResponseRequest, asked: Asked, sink: Sink, tools: Mapping[str, Tool]
    ) -> Completion:
        if not tools:
            return await engine.run(request, sink)
        return await ToolLoop(engine, tools, asked, self._limits, sink).run(request)

    def _own(self, asked: Asked) -> dict[str, Tool]:
        tools = list(self._tools) if asked.deep_thinking else []
        if asked.web_search and self._search is not None:
            tools.append(WebSearch(self._search))
        return _named(tools)


def _named(tools: Iterable[Tool]) -> dict[str, Tool]:
    return {tool.definition.name: tool for tool in tools}
