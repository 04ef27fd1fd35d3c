"""Tools of the Chat Shell: what the model, the viewers and the tools see of their use, and its limits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from tests.executors.test_chat_shell import job
from wegent.core.clock import SystemClock
from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.engines.anthropic import AnthropicConfig, AnthropicEngine
from wegent.engines.offline import OfflineConfig, OfflineEngine
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.executors.chat_shell import ChatShell, RemoteChatShell
from wegent.executors.tool_loop import ToolLimits
from wegent.executors.toolbox import Toolbox
from wegent.protocol.chat_shell import ResponseRequest, ToolCall, ToolDefinition
from wegent.server.ports.engine import Completion, Engine
from wegent.server.ports.search import Found, Search
from wegent.server.ports.tool import Asked, Report, Tool, ToolFailed, ToolSource
from wegent.testing.harness import application
from wegent.testing.provider import LAST_CHUNK, chunk, delta, finish, scripted_provider, streams
from wegent.testing.sinks import MemorySink
from wegent.tools.clock import ClockTool


class Made(Tool):
    """A tool that is a function of its arguments; counts how many of its uses go on."""

    def __init__(self, name: str, work: Any) -> None:
        self._definition = ToolDefinition(name=name, description=f"Does {name}.")
        self._work = work
        self.on = self.most = self.uses = 0

    @property
    def definition(self) -> ToolDefinition:
        return self._definition

    async def use(self, arguments: Mapping[str, Any], asked: Asked, report: Report) -> Any:
        self.on += 1
        self.uses += 1
        self.most = max(self.most, self.on)
        try:
            await trio.lowlevel.checkpoint()
            return await self._work(arguments, report)
        finally:
            self.on -= 1


async def twice(arguments: Mapping[str, Any], report: Report) -> Any:
    await report("half")
    return {"twice": 2 * arguments["n"]}


class Caller(Engine):
    """An engine that wants the tools of one round after the other, then answers what it was told."""

    def __init__(self, *rounds: Sequence[tuple[str, str]]) -> None:
        self._rounds = rounds
        self.requests: list[ResponseRequest] = []

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        n = len(self.requests)
        self.requests.append(request)
        usage = {"total_tokens": 1, "details": {"cached": 2}}
        if n < len(self._rounds):
            await sink.text(f"round {n}. ")
            calls = tuple(ToolCall(id=f"{n}-{i}", name=a, arguments=b) for i, (a, b) in enumerate(self._rounds[n]))
            return Completion("m", "tool_calls", usage, calls, {"round": n})
        await sink.text(" | ".join(str(m.content) for m in request.messages if m.role == "tool"))
        return Completion("m", "stop", usage)

    def told(self, request: int) -> list[tuple[str, Any]]:
        """Outputs that the model was told of in a request, and whether they are errors."""
        return [(str(m.content), m.failed) for m in self.requests[request].messages if m.role == "tool"]


async def answer(engine: Engine, *tools: Tool, sink: Sink | None = None, **limits: Any) -> MemorySink:
    sink = sink or MemorySink()
    shell = ChatShell({"offline": engine}, toolbox=Toolbox(tools, limits=ToolLimits(**limits)))
    await shell.run(job("Hello"), sink)
    assert isinstance(sink, MemorySink)
    return sink


async def test_a_tool_is_used_shown_and_answered_with() -> None:
    engine = Caller([("twice", '{"n": 21}')])
    sink = await answer(engine, Made("twice", twice))
    assert sink.content == 'round 0. {"twice":42}'
    assert [(each["status"], each.get("tool_input"), each.get("tool_output")) for each in sink.blocks] == [
        ("pending", {"n": 21}, None),
        ("streaming", None, None),
        ("streaming", None, "half"),
        ("done", None, {"twice": 42}),
    ]
    assert [name for name, _ in sink.calls] == ["text", *["block"] * 4, "text"]
    assert [tool.name for tool in engine.requests[0].tools or ()] == ["twice"]
    _, turn, output = engine.requests[1].messages
    assert (turn.role, turn.content, turn.carried) == ("assistant", "round 0. ", {"round": 0})
    assert turn.tool_calls == (ToolCall(id="0-0", name="twice", arguments='{"n": 21}'),)
    assert (output.role, output.tool_call_id, output.failed) == ("tool", "0-0", None)


async def test_the_outcome_counts_the_tokens_of_all_rounds() -> None:
    shell = ChatShell({"offline": Caller([("t", "{}")], [("t", "{}")])}, toolbox=Toolbox([Made("t", twice)]))
    outcome = await shell.run(job("Hello"), MemorySink())
    assert outcome.result["usage"] == {"total_tokens": 3, "details": {"cached": 6}}


async def test_tools_of_one_round_run_side_by_side_and_answer_in_order() -> None:
    async def sleepy(arguments: Mapping[str, Any], report: Report) -> Any:
        await trio.sleep(0.02 / arguments["n"])
        return str(arguments["n"])

    tool = Made("sleepy", sleepy)
    engine = Caller([("sleepy", json.dumps({"n": n})) for n in range(1, 7)])
    sink = await answer(engine, tool, at_once=2)
    assert sink.content.endswith("1 | 2 | 3 | 4 | 5 | 6")
    assert tool.most == 2
    assert len({block["id"] for block in sink.blocks}) == 6


async def nothing(arguments: Mapping[str, Any], report: Report) -> Any:
    await trio.lowlevel.checkpoint()


async def fails(arguments: Mapping[str, Any], report: Report) -> Any:
    raise ToolFailed("No rain today.")


async def crashes(arguments: Mapping[str, Any], report: Report) -> Any:
    raise ExceptionGroup("secret", [ValueError("secret")])


async def forever(arguments: Mapping[str, Any], report: Report) -> Any:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("work", "name", "arguments", "words"),
    [
        (fails, "t", "{}", "No rain today."),
        (crashes, "t", "{}", "The tool failed; the server's log says how."),
        (forever, "t", "{}", "took longer than 0.05 seconds"),
        (twice, "u", "{}", "There is no tool of this name. There are: t."),
        (twice, "t", "[1]", "should be a JSON object"),
        (twice, "t", '{"n": ', "should be a JSON object"),
    ],
)
async def test_a_tool_that_fails_is_told_to_the_model_and_shown(
    work: Any, name: str, arguments: str, words: str
) -> None:
    engine = Caller([(name, arguments)])
    sink = await answer(engine, Made("t", work), timeout_s=0.05)
    ((told, failed),) = engine.told(1)
    assert words in told
    assert "secret" not in told
    assert failed is True
    assert sink.blocks[-1]["status"] == "error"
    assert sink.blocks[-1]["tool_output"] == told


async def test_a_model_that_never_stops_asking_is_stopped() -> None:
    tool = Made("t", nothing)
    engine = Caller(*[[("t", "{}")]] * 100)
    with pytest.raises(RunFailed, match="used tools 3 times"):
        await answer(engine, tool, rounds=3)
    assert tool.uses == 3
    assert "Answer with what you have" in engine.told(4)[-1][0]


async def test_uses_in_all_are_bounded() -> None:
    tool = Made("t", nothing)
    engine = Caller([("t", "{}")] * 8)
    await answer(engine, tool, calls=5)
    assert tool.uses == 5
    assert [failed for _, failed in engine.told(1)] == [None] * 5 + [True] * 3


async def test_long_output_is_cut_for_model_and_viewers() -> None:
    async def long(arguments: Mapping[str, Any], report: Report) -> Any:
        return {"text": "x" * 1000 + "\ud83d"}

    engine = Caller([("t", "{}")])
    sink = await answer(engine, Made("t", long), output=100)
    ((told, _),) = engine.told(1)
    assert told.startswith('{"text":"xxx')
    assert "(cut: " in told
    assert len(told) < 150
    assert sink.blocks[-1]["tool_output"] == told


async def test_without_deep_thinking_no_tool_is_offered() -> None:
    engine = Caller()
    shell = ChatShell({"offline": engine}, toolbox=Toolbox([Made("t", twice)]))
    await shell.run(job("Hello", features={"deep_thinking": False}), MemorySink())
    assert engine.requests[0].tools is None


class Pages(Search):
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def find(self, query: str, limit: int) -> list[Found]:
        await trio.lowlevel.checkpoint()
        self.asked.append((query, limit))
        return [Found("Trio", "https://trio.example", "A library.")] * 20


async def test_the_web_is_searched_only_where_that_is_wanted() -> None:
    for wanted in (True, False):
        engine, search = Caller([("web_search", '{"query": " trio ", "limit": 3}')] if wanted else []), Pages()
        shell = ChatShell({"offline": engine}, toolbox=Toolbox(search=search))
        sink = MemorySink()
        await shell.run(job("Hello", features={"deep_thinking": False, "web_search": wanted}), sink)
        assert search.asked == ([("trio", 3)] if wanted else [])
        assert [tool.name for tool in engine.requests[0].tools or ()] == (["web_search"] if wanted else [])
        assert sink.content.count("https://trio.example") == (3 if wanted else 0)


async def test_what_the_sink_refuses_ends_the_run_with_its_own_error() -> None:
    class Full(MemorySink):
        async def block(self, block: Mapping[str, Any]) -> None:
            await super().block(block)
            if block["status"] == "streaming":
                raise RunFailed("too much", type="output_limit")

    with pytest.raises(RunFailed) as caught:
        await answer(Caller([("t", "{}")] * 3), Made("t", twice), sink=Full())
    assert caught.value.type == "output_limit"


class Source(ToolSource):
    """A tool that lives as long as its answer."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.open_now = 0

    @asynccontextmanager
    async def open(self, asked: Asked) -> AsyncIterator[Sequence[Tool]]:
        self.open_now += 1
        try:
            async with trio.open_nursery():
                yield [self._tool]
        finally:
            self.open_now -= 1


async def test_what_fails_within_a_source_is_in_no_group() -> None:
    source = Source(Made("t", twice))
    toolbox = Toolbox(sources=[source], limits=ToolLimits(rounds=1))
    shell = ChatShell({"offline": Caller(*[[("t", "{}")]] * 9)}, toolbox=toolbox)
    with pytest.raises(RunFailed, match="used tools"):
        await shell.run(job("Hello"), MemorySink())
    assert source.open_now == 0


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when any task but the main one has run for the n-th time since it was added."""

    def __init__(self, scope: trio.CancelScope, n: int) -> None:
        self.scope, self.left = scope, n

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def test_cancelled_at_any_step_no_tool_and_no_source_goes_on() -> None:
    tool = Made("t", twice)
    source = Source(Made("u", twice))
    calls = [("t", '{"n": 1}'), ("u", '{"n": 1}'), ("t", "{}")]
    n = 0
    while True:
        n += 1
        shell = ChatShell({"offline": Caller(calls, calls)}, toolbox=Toolbox([tool], [source]))
        with trio.CancelScope() as scope:
            instrument = CancelAt(scope, n)
            trio.lowlevel.add_instrument(instrument)
            try:
                await shell.run(job("Hello"), MemorySink())
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert (tool.on, source.open_now) == (0, 0)
        if not scope.cancelled_caught and instrument.left > 0:
            break
    assert n > 20


def message_event(kind: str, **fields: Any) -> bytes:
    return chunk(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())


USES = (
    message_event("message_start", message={"model": "m", "usage": {"input_tokens": 1}}),
    message_event("content_block_start", index=0, content_block={"type": "tool_use", "id": "c", "name": "twice"}),
    message_event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"n": 4}'}),
    message_event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1}),
    message_event("message_stop"),
    LAST_CHUNK,
)
SAYS = (
    message_event("content_block_start", index=0, content_block={"type": "text", "text": "It is 8."}),
    message_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
    message_event("message_stop"),
    LAST_CHUNK,
)
CALLS = delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "twice", "arguments": '{"n": 4}'}}])


@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_models_of_either_interface_use_tools(name: str) -> None:
    scripts = (
        (streams(CALLS, finish("tool_calls")), streams(delta("It is 8."), finish()))
        if name == "openai"
        else (streams(*USES), streams(*SAYS))
    )
    sink = MemorySink()
    async with (
        scripted_provider(*scripts) as provider,
        OpenAIEngine.open(OpenAIConfig()) as openai,
        AnthropicEngine.open(AnthropicConfig()) as anthropic,
    ):
        shell = ChatShell({"openai": openai, "anthropic": anthropic}, "openai", toolbox=Toolbox([Made("twice", twice)]))
        await shell.run(job("Twice 4?", engine=name, model_id="m", base_url=provider.base_url), sink)
    assert sink.content == "It is 8."
    assert sink.blocks[-1]["tool_output"] == {"twice": 8}
    told = provider.calls[1].body["messages"][-1]
    expected = (
        {"role": "tool", "tool_call_id": "c", "content": '{"twice":8}'}
        if name == "openai"
        else {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c", "content": '{"twice":8}', "is_error": False}],
        }
    )
    assert told == expected


async def test_a_chat_shell_service_has_the_tools_of_the_server() -> None:
    from tests.executors.test_chat_shell_service import remote

    sink = MemorySink()
    async with remote(OfflineEngine(OfflineConfig(tokens_per_s=0))) as (client, _):
        await RemoteChatShell(client, Toolbox([Made("twice", twice)])).run(job('/call twice {"n": 4}'), sink)
    assert '{"twice":8}' in sink.content
    assert sink.blocks[-1]["status"] == "done"


async def test_the_offline_engine_tells_of_tools_and_uses_them(autojump_clock: Any) -> None:
    toolbox = Toolbox([ClockTool(SystemClock())])
    shell = ChatShell({"offline": OfflineEngine(OfflineConfig(tokens_per_s=0))}, toolbox=toolbox)
    async with application(shell) as app:
        client = await app.client("alice")
        await client.emit(
            "chat:send", {"team_id": app.team_id, "message": '/call current_time {"timezone": "Asia/Tokyo"}'}
        )
        done = await client.wait_for("chat:done")
        await client.emit("chat:send", {"team_id": app.team_id, "message": "/call"})
        listed = await client.wait_for("chat:done")
    (block,) = done["result"]["blocks"]
    assert (block["status"], block["tool_name"], block["tool_input"]) == (
        "done",
        "current_time",
        {"timezone": "Asia/Tokyo"},
    )
    assert block["tool_output"]["time"].endswith("+09:00")
    assert abs((datetime.fromisoformat(block["tool_output"]["time"]) - datetime.now(UTC)).total_seconds()) < 600
    assert block["at"] == done["result"]["value"].index("It answered")
    assert "`current_time`" in listed["result"]["value"]


async def test_a_clock_knows_its_zones() -> None:
    tool = ClockTool(SystemClock())
    asked = Asked(user_id=1, user_name="ann", task_id=1, subtask_id=1)
    for wrong in ("Mars/Base", "../etc/passwd", "x\0y", 7):
        with pytest.raises(ToolFailed, match="no such time zone"):
            await tool.use({"timezone": wrong}, asked, twice)
