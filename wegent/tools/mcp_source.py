"""Tools of MCP servers: a connection to each for each answer."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import trio
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from wegent.core.errors import RunFailed
from wegent.core.text import bounded, clean
from wegent.engines.beside import beside
from wegent.protocol.chat_shell import ToolDefinition
from wegent.server.ports.tool import Asked, Report, Tool, ToolFailed, ToolSource
from wegent.tools.mcp_servers import HttpServer, McpConfig, Server, StdioServer, read_servers

_log = logging.getLogger(__name__)
_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
MOST_DESCRIPTION = 4_000
MOST_PAGES = 20


class McpSource(ToolSource):
    """Connects to the servers that a Ghost names, as far as the deployment allows them."""

    __slots__ = ("_config", "_programs")

    def __init__(self, config: McpConfig) -> None:
        self._config = config
        self._programs = trio.CapacityLimiter(config.at_once)

    def open(self, asked: Asked) -> AbstractAsyncContextManager[Sequence[Tool]]:
        """See `ToolSource.open`."""
        return self._open(asked)

    @asynccontextmanager
    async def _open(self, asked: Asked) -> AsyncIterator[Sequence[Tool]]:
        servers = read_servers(asked.mcp_servers, self._config)
        tools: list[Tool] = []
        async with AsyncExitStack() as stack:
            if any(isinstance(server, StdioServer) for server in servers):
                await stack.enter_async_context(self._programs)
            for server in servers:
                connection = _Connection(server, self._config)
                await stack.enter_async_context(beside(connection.hold))
                tools += connection.tools()
            yield tools


class _Connection:
    """One server, for one answer. The client lives in a task of its own, so that its failure is not the answer's."""

    def __init__(self, server: Server, config: McpConfig) -> None:
        self._server = server
        self._config = config
        self._client: Any = None
        self._offered: list[Any] = []
        self._failure: str | None = None

    def tools(self) -> list[Tool]:
        """What the server offers.

        Raises:
            RunFailed: it can't be had.
        """
        if self._failure is not None:
            raise RunFailed(f"The MCP server `{self._server.name}` {self._failure}", type="model")
        return [McpTool(self._server.name, offered, self._call) for offered in self._offered[: self._config.tools]]

    async def hold(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Connect, say so or that it failed, then stay until cancelled. Raises nothing but Cancelled."""
        told = False
        with trio.CancelScope(deadline=trio.current_time() + self._config.connect_s) as scope:
            try:
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(Client(await _transport(self._server, stack)))
                    self._offered = await _offered(client, self._config.tools)
                    self._client = client
                    scope.deadline = float("inf")
                    told = True
                    task_status.started()
                    await trio.sleep_forever()
            except Exception as error:
                _log.warning("the MCP server %s failed: %s", self._server.name, _kinds(error))
                self._failure = "can't be reached, or broke off. Check its address and its credentials."
        self._client = None
        if self._failure is None:
            self._failure = f"did not tell its tools within {self._config.connect_s:g} seconds."
        if not told:
            task_status.started()
        await trio.lowlevel.checkpoint()

    async def _call(self, name: str, arguments: dict[str, Any], report: Report) -> Any:
        if self._client is None:
            raise ToolFailed(f"The MCP server `{self._server.name}` is gone.")

        async def progress(done: float, total: float | None, message: str | None) -> None:
            await report({"progress": done, "total": total, "message": message})

        try:
            result = await self._client.call_tool(name, arguments, progress_callback=progress)
        except Exception as error:
            _log.warning("a tool of the MCP server %s failed: %s", self._server.name, _kinds(error))
            said = f": {clean(str(error))[:500]}" if type(error).__name__ == "MCPError" else "."
            raise ToolFailed(f"The MCP server `{self._server.name}` failed{said}") from error
        return _output(result)


class McpTool(Tool):
    """A tool of a server."""

    def __init__(
        self, server: str, offered: Any, call: Callable[[str, dict[str, Any], Report], Awaitable[Any]]
    ) -> None:
        self._call = partial(call, offered.name)
        self._definition = ToolDefinition(
            name=_STRANGE.sub("_", f"{server}_{offered.name}")[:64],
            description=clean(offered.description or "")[:MOST_DESCRIPTION],
            parameters=bounded(offered.input_schema),
        )

    @property
    def definition(self) -> ToolDefinition:
        """See `Tool.definition`; the name begins with the server's."""
        return self._definition

    async def use(self, arguments: Mapping[str, Any], asked: Asked, report: Report) -> Any:
        """See `Tool.use`."""
        return await self._call(dict(arguments), report)


async def _transport(server: Server, stack: AsyncExitStack) -> Any:
    if isinstance(server, HttpServer):
        http = httpx2.AsyncClient(headers=dict(server.headers), timeout=httpx2.Timeout(30.0, read=300.0))
        return streamable_http_client(server.url, http_client=await stack.enter_async_context(http))
    command, *arguments = server.command
    # What it writes to its stderr may hold people's data, and is nobody's log.
    errors = stack.enter_context(open(os.devnull, "w"))  # noqa: ASYNC230, PTH123, SIM115 - nothing to wait for
    return stdio_client(StdioServerParameters(command=command, args=arguments, env=dict(server.env)), errlog=errors)


async def _offered(client: Any, most: int) -> list[Any]:
    offered: list[Any] = []
    cursor = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        offered += page.tools
        cursor = page.next_cursor
        if cursor is None or len(offered) >= most:
            break
    return offered


def _output(result: Any) -> Any:
    """What a tool gave back: its texts, and of other parts what they are.

    Raises:
        ToolFailed: the server says that it failed.
    """
    parts = [part.text if part.type == "text" else f"({part.type}, not shown)" for part in result.content]
    text = "\n".join(parts)
    if result.is_error:
        raise ToolFailed(clean(text)[:4_000] or "The tool failed and gave no reason.")
    return text if parts else result.structured_content


def _kinds(error: BaseException) -> str:
    """The classes of an error, and of those in it; what they say may hold secrets."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(each) for each in error.exceptions)
    return type(error).__name__
