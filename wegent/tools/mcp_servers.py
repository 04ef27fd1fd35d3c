"""MCP servers as a Ghost names them, and which of them a deployment lets it use."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen
from attrs.validators import gt

from wegent.core.errors import RunFailed

MOST_SERVERS = 20


@frozen(kw_only=True)
class Program:
    """A program that Ghosts may start by its name; `env` are the variables that a Ghost may set for it."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()


@frozen(kw_only=True)
class McpConfig:
    """What Ghosts may use. Times are in seconds.

    Attributes:
        programs: by the name that a Ghost's server has; without any, no Ghost can start one.
        hosts: patterns of the hosts (`host` or `host:port`) that servers may be at; `*` is any.
        connect_s: until a server has told its tools.
        tools: of one server that are offered at most.
        at_once: answers that have programs started for them, side by side; the next wait their turn.
    """

    programs: Mapping[str, Program] = field(factory=dict)
    hosts: tuple[str, ...] = ("*",)
    connect_s: float = field(default=20.0, validator=gt(0))
    tools: int = field(default=64, validator=gt(0))
    at_once: int = field(default=16, validator=gt(0))


@frozen
class HttpServer:
    """A server that is reached over HTTP (streamable)."""

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


@frozen
class StdioServer:
    """A server that is a program, started for one answer."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


Server = HttpServer | StdioServer


def read_servers(described: Mapping[str, Any], config: McpConfig) -> list[Server]:
    """The servers of a Ghost's `mcpServers`.

    Raises:
        RunFailed: one is described wrongly, or may not be used here.
    """
    if len(described) > MOST_SERVERS:
        raise _refused(f"The Ghost names more than {MOST_SERVERS} MCP servers.")
    return [_read(name, server, config) for name, server in described.items()]


def _read(name: str, server: Any, config: McpConfig) -> Server:
    if isinstance(server, Mapping) and isinstance(url := server.get("url"), str):
        return HttpServer(name, _checked(name, url, config), _texts(name, server, "headers"))
    if isinstance(server, Mapping) and ("command" in server or name in config.programs):
        return _program(name, server, config)
    raise _refused(f"The Ghost's MCP server `{name}` should have a `url`, or the name of a program of this server.")


def _checked(name: str, url: str, config: McpConfig) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https") or not url.isprintable():
        raise _refused(f"The `url` of the Ghost's MCP server `{name}` is no http or https address.")
    places = {host, f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"}
    if not any(fnmatchcase(place, pattern) for place in places for pattern in config.hosts):
        raise _refused(
            f"This server does not let Ghosts use the MCP server `{name}`: its host is none of those in `mcp.hosts`."
        )
    return url


def _program(name: str, server: Mapping[str, Any], config: McpConfig) -> StdioServer:
    """The command is the deployment's, whatever the Ghost says; what a Ghost says otherwise is refused."""
    program = config.programs.get(name)
    if program is None or not program.command:
        raise _refused(
            f"The Ghost's MCP server `{name}` starts a program, which this server does not allow. "
            f"Who runs it can add the program to its configuration: [mcp.programs.{name}]."
        )
    arguments = server.get("args") or ()
    if "command" in server and [server["command"], *arguments] != list(program.command):
        raise _refused(
            f"The Ghost's MCP server `{name}` names another command than [mcp.programs.{name}] of this server's "
            "configuration. Leave `command` and `args` out to use that one."
        )
    env = _texts(name, server, "env")
    if strange := sorted(env.keys() - set(program.env)):
        raise _refused(f"The Ghost may not set {', '.join(strange)} for the MCP server `{name}` on this server.")
    return StdioServer(name, program.command, env)


def _texts(name: str, server: Mapping[str, Any], key: str) -> dict[str, str]:
    found = server.get(key) or {}
    if not isinstance(found, Mapping) or not all(
        isinstance(text, str) and text.isprintable() for pair in found.items() for text in pair
    ):
        raise _refused(f"`{key}` of the Ghost's MCP server `{name}` should be an object of texts.")
    return dict(found)


def _refused(sentence: str) -> RunFailed:
    return RunFailed(sentence, type="model")
