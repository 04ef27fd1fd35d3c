"""An MCP server made with the official package: over stdio, or over HTTP on a free port that it prints."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers."""
    return f"{a + b} says {os.getpid()} {os.environ.get('MCP_TOKEN', 'without token')}"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("no milk today")


@server.tool(name="slow tool")
async def slow(path: str) -> str:
    """Never ends; leaves a sign that it began."""
    await anyio.Path(path).write_text(str(os.getpid()))
    await anyio.sleep_forever()
    return ""


@server.tool()
async def counts(context: Context) -> str:
    """Tells how far it is."""
    await context.report_progress(1, 2, "half")
    return "counted"


@server.tool()
def die() -> str:
    """Ends the server."""
    os._exit(3)


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        import logging
        import socket

        import uvicorn

        logging.disable()
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(server.streamable_http_app(), log_level="critical")
        uvicorn.Server(config).run(sockets=[listener])
    elif sys.argv[1:] == ["silent"]:
        Path(sys.argv[0]).exists()
        time.sleep(600)
    else:
        server.run("stdio")
