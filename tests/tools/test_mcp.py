"""Tools of MCP servers, with real servers made with the official package, over stdio and HTTP."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import attrs
import pytest
import trio

from tests.executors.test_chat_shell import job
from wegent.core.errors import RunFailed
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.executors.chat_shell import ChatShell
from wegent.executors.tool_loop import ToolLimits
from wegent.executors.toolbox import Toolbox
from wegent.server.ports.tool import Asked
from wegent.testing.sinks import MemorySink
from wegent.tools.mcp_servers import McpConfig, Program, read_servers

pytest.importorskip("mcp", reason="the extra `mcp` is not installed")

from wegent.tools.mcp_source import McpSource

# The package leaves generators of its HTTP client to the garbage collector, and so to Trio.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")
SERVER = Path(__file__).with_name("mcp_server.py")
COMMAND = (sys.executable, str(SERVER))
PROGRAMS = {
    "files": Program(command=COMMAND, env=("MCP_TOKEN",)),
    "silent": Program(command=(*COMMAND, "silent")),
    "missing": Program(command=("/no/such/program",)),
}
ASKED = Asked(user_id=1, user_name="ann", task_id=1, subtask_id=1, deep_thinking=True)


def shell(**config: Any) -> ChatShell:
    source = McpSource(McpConfig(**({"programs": PROGRAMS} | config)))
    engine = OfflineEngine(OfflineConfig(tokens_per_s=0))
    return ChatShell({"offline": engine}, toolbox=Toolbox(sources=[source], limits=ToolLimits(timeout_s=5)))


async def asked(message: str, servers: dict[str, Any], **config: Any) -> MemorySink:
    sink = MemorySink()
    wanted = job(message)
    bot = attrs.evolve(wanted.spec.bot, mcp_servers=servers)
    await shell(**config).run(attrs.evolve(wanted, spec=attrs.evolve(wanted.spec, bot=bot)), sink)
    return sink


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@asynccontextmanager
async def http_server() -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, [*COMMAND, "http"], stdout=PIPE, stderr=DEVNULL, check=False)
        process = await nursery.start(start)
        port = b""
        while b"\n" not in port:
            port += await process.stdout.receive_some()
        try:
            yield f"http://127.0.0.1:{int(port)}/mcp"
        finally:
            gc.collect()
            nursery.cancel_scope.cancel()


async def test_a_program_that_is_allowed_gives_its_tools_and_ends_with_the_answer() -> None:
    servers = {"files": {"command": COMMAND[0], "args": [COMMAND[1]], "env": {"MCP_TOKEN": "t0ken"}}}
    sink = await asked('/call files_add {"a": 40, "b": 2}', servers)
    output = sink.blocks[-1]["tool_output"]
    assert output.startswith("42 says ")
    assert output.endswith(" t0ken")
    assert not is_alive(int(output.split()[2]))
    listed = await asked("/call", {"files": {}})
    assert "`files_slow_tool`: Never ends" in listed.content


async def test_what_an_mcp_tool_does_wrong_is_an_error_of_the_tool() -> None:
    failed = await asked("/call files_fail", {"files": {}})
    assert failed.blocks[-1]["status"] == "error"
    assert "no milk today" in failed.blocks[-1]["tool_output"]
    died = await asked("/call files_die", {"files": {}})
    assert died.blocks[-1]["status"] == "error"
    assert "files" in died.blocks[-1]["tool_output"]


async def test_a_server_over_http_gives_its_tools() -> None:
    async with http_server() as url:
        sink = await asked('/call web_add {"a": 40, "b": 2}', {"web": {"url": url, "headers": {"x-key": "k"}}})
        counted = await asked("/call web_counts", {"web": {"url": url}})
    assert sink.blocks[-1]["tool_output"].startswith("42 says ")
    assert {"progress": 1, "total": 2, "message": "half"} in [block.get("tool_output") for block in counted.blocks]


@pytest.mark.parametrize("program", [True, False])
async def test_cancelling_an_answer_ends_its_server(program: bool, tmp_path: Path) -> None:
    sign = tmp_path / "began"
    message = f'/call {"files" if program else "web"}_slow_tool {{"path": "{sign}"}}'
    async with http_server() as url:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asked, message, {"files": {}} if program else {"web": {"url": url}})
                while not (sign.exists() and sign.read_text()):  # noqa: ASYNC110 - another process writes it
                    await trio.sleep(0.02)
                nursery.cancel_scope.cancel()
        pid = int(sign.read_text())
    if program:
        assert not is_alive(pid)


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ({"rm": {"command": "rm", "args": ["-rf", "/"]}}, r"does not allow.*\[mcp.programs.rm\]"),
        ({"files": {"command": "rm", "args": ["-rf", "/"]}}, "another command than"),
        ({"files": {"command": COMMAND[0]}}, "another command than"),
        ({"files": {"env": {"LD_PRELOAD": "/tmp/x"}}}, "may not set LD_PRELOAD"),
        ({"files": {"env": {"MCP_TOKEN": 7}}}, "object of texts"),
        ({"web": {"url": "http://10.0.0.1/mcp"}}, "does not let Ghosts use"),
        ({"web": {"url": "file:///etc/passwd"}}, "no http or https address"),
        ({"web": {"url": "http://[::1"}}, "no http or https address"),
        ({"web": {}}, "should have a `url`"),
        ({"web": "http://x"}, "should have a `url`"),
        ({str(n): {} for n in range(21)}, "more than 20"),
    ],
)
def test_what_a_deployment_does_not_allow_is_refused_clearly(servers: dict[str, Any], words: str) -> None:
    config = McpConfig(programs=PROGRAMS, hosts=("127.0.0.1:*", "*.example"))
    with pytest.raises(RunFailed, match=words):
        read_servers(servers, config)


def test_hosts_are_allowed_by_pattern() -> None:
    config = McpConfig(hosts=("127.0.0.1:80", "*.example"))
    servers = {"a": {"url": "http://127.0.0.1/mcp"}, "b": {"url": "https://tools.example:8443/mcp"}}
    assert [server.name for server in read_servers(servers, config)] == ["a", "b"]


async def test_a_server_that_can_not_be_had_fails_the_run_clearly() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    for servers in ({"missing": {}}, {"web": {"url": f"http://127.0.0.1:{port}/mcp"}}):
        with pytest.raises(RunFailed, match="can't be reached"):
            await asked("/call", servers)
    with pytest.raises(RunFailed, match=r"within 0\.3 seconds"):
        await asked("/call", {"silent": {}}, connect_s=0.3)


async def test_an_answer_without_servers_opens_nothing() -> None:
    async with McpSource(McpConfig()).open(ASKED) as tools:
        assert list(tools) == []
