"""Requests, and engines that send them to a scripted provider."""

from __future__ import annotations

from typing import Any

from wegent.core.errors import RunFailed
from wegent.engines.anthropic import AnthropicConfig, AnthropicEngine
from wegent.engines.openai import OpenAIConfig, OpenAIEngine
from wegent.protocol.chat_shell import (
    Features,
    ModelConfig,
    ModelMessage,
    ResponseMetadata,
    ResponseRequest,
    ToolCall,
    ToolDefinition,
)
from wegent.server.ports.engine import Completion
from wegent.testing.provider import Call, Script, scripted_provider
from wegent.testing.sinks import MemorySink

KEY = "sk-very-secret-0123456789"
TEXT = "Grüße 👩‍👩‍👧‍👦 e\u0301 漢字かな 🇫🇷 — done"
WEATHER = ToolDefinition(
    name="weather", description="Tells the weather.", parameters={"type": "object", "properties": {"city": {}}}
)
CALLED = (
    ModelMessage(role="user", content="Hello"),
    ModelMessage(
        role="assistant",
        content="Let me see.",
        tool_calls=(ToolCall(id="c1", name="weather", arguments='{"city": 1}'),),
    ),
    ModelMessage(role="tool", content="rain", tool_call_id="c1"),
)


def request_to(
    base_url: str | None, *messages: ModelMessage, tools: tuple[ToolDefinition, ...] = (), **model: Any
) -> ResponseRequest:
    config = {"model_id": "scripted-1", "base_url": base_url, "api_key": KEY, **model}
    return ResponseRequest(
        model_config=ModelConfig(**config),
        messages=messages or (ModelMessage(role="user", content="Hello"),),
        system="Be kind.",
        tools=tools or None,
        features=Features(deep_thinking=True),
        metadata=ResponseMetadata(request_id="r1"),
    )


class Asked:
    """What came of one request: what the sink holds, how it ended, what the provider got."""

    def __init__(self) -> None:
        self.sink = MemorySink()
        self.completion: Completion | None = None
        self.error: RunFailed | None = None
        self.calls: list[Call] = []


async def ask(
    engine: type[OpenAIEngine | AnthropicEngine],
    *scripts: Script,
    messages: tuple[ModelMessage, ...] = (),
    tools: tuple[ToolDefinition, ...] = (),
    model: dict[str, Any] | None = None,
    **config: Any,
) -> Asked:
    asked = Asked()
    make: Any = OpenAIConfig if engine is OpenAIEngine else AnthropicConfig
    quick = {"backoff_s": 0.001, "max_backoff_s": 0.5}
    async with scripted_provider(*scripts) as provider, engine.open(make(**(quick | config))) as opened:
        request = request_to(provider.base_url, *messages, tools=tools, **(model or {}))
        try:
            asked.completion = await opened.run(request, asked.sink)
        except RunFailed as error:
            asked.error = error
        assert KEY not in str(asked.error)
        asked.calls = provider.calls
    return asked
