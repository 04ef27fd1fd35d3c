"""Engine `offline`: answers without a model, a key or a network, and says so; paced like a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import trio
from attrs import field, frozen
from attrs.validators import ge, gt

from wegent.core.errors import RunFailed
from wegent.core.ports.executor import Sink
from wegent.engines.offline_answers import compose
from wegent.engines.offline_calls import calling
from wegent.engines.offline_correction import corrected
from wegent.engines.offline_steps import Fail, Message, Pace, Pause, Say, Step, Tell, Think, Tool
from wegent.engines.pace import Metronome
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest
from wegent.server.ports.engine import Completion, Engine

MODEL = "offline"
_TOKEN = re.compile(r"\s*\S{1,6}|\s+")
_BURST = 256


@frozen(kw_only=True)
class OfflineConfig:
    """`tokens_per_s`: 0 is as fast as the sink takes them. `beats_per_s`: how often a piece is written."""

    tokens_per_s: float = field(default=60.0, validator=ge(0))
    beats_per_s: float = field(default=25.0, validator=gt(0))


class OfflineEngine(Engine):
    """Plays an answer that is made from the message; see `wegent.engines.offline_answers` and its `/help`."""

    __slots__ = ("_config", "_metronome")

    def __init__(self, config: OfflineConfig | None = None) -> None:
        self._config = config or OfflineConfig()
        self._metronome = Metronome(1 / self._config.beats_per_s)

    async def run(self, request: ResponseRequest, sink: Sink) -> Completion:
        """Answer the newest message of a person; see `Engine.run`."""
        message = _newest(request.messages)
        most = request.model_config.max_output_tokens
        player = _Player(sink, self._metronome, self._config.tokens_per_s, most, request.features.deep_thinking)
        steps, calls = calling(request) or (corrected(request.system, message.text) or compose(message), ())
        whole = await player.play(steps)
        asked = len(message.words)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": player.said,
            "total_tokens": asked + player.said,
        }
        return Completion(MODEL, "stop" if whole else "length", usage, calls if whole else ())


class _Player:
    """Plays steps into a sink, token by token, at a pace."""

    def __init__(self, sink: Sink, metronome: Metronome, pace: float, most: int | None, thinks: bool) -> None:
        self._sink = sink
        self._metronome = metronome
        self._pace = pace
        self._most = most
        self._thinks = thinks
        self._paused_at = trio.current_time()
        self._most_late = 3 * metronome.interval
        self._due = 0.0
        self._tools = 0
        self.said = 0

    async def play(self, steps: Iterator[Step]) -> bool:
        """Play all; False if the most tokens were said before the end."""
        for step in steps:
            await self._step(step)
            if self._most is not None and self.said >= self._most:
                return False
        return True

    async def _step(self, step: Step) -> None:
        match step:
            case Say(text):
                await self._write(text, thinking=False)
            case Think(text):
                if self._thinks:
                    await self._write(text, thinking=True)
            case Tool():
                await self._use(step)
            case Pace(tokens_per_s):
                self._pace = min(self._pace, tokens_per_s) if self._pace and tokens_per_s else tokens_per_s
            case Pause(seconds):
                await trio.sleep(seconds)
            case Tell(percent, message):
                await self._sink.progress(percent, message)
            case Fail(sentence):
                raise RunFailed(sentence, type="model")

    async def _write(self, text: str, *, thinking: bool) -> None:
        write = self._sink.thinking if thinking else self._sink.text
        tokens = _TOKEN.findall(text)
        if self._most is not None:
            tokens = tokens[: self._most - self.said]
        while tokens:
            count = await self._next_due()
            await write("".join(tokens[:count]))
            self.said += min(count, len(tokens))
            del tokens[:count]

    async def _next_due(self) -> int:
        """Wait for a beat on which tokens are due; how many are. Time lost to a slow sink is not caught up."""
        if not self._pace:
            return _BURST
        while True:
            await self._metronome.beat()
            now = trio.current_time()
            self._due += min(now - self._paused_at, self._most_late) * self._pace
            self._paused_at = now
            if self._due >= 1:
                count = int(self._due)
                self._due -= count
                return count

    async def _use(self, tool: Tool) -> None:
        self._tools += 1
        block: dict[str, Any] = {"id": f"tool-{self._tools}", "type": "tool", "tool_name": tool.name}
        await self._sink.block({**block, "tool_input": tool.input, "status": "pending"})
        await self._rest()
        for part in tool.parts:
            await self._sink.block({**block, "tool_input": tool.input, "tool_output": part, "status": "streaming"})
            await self._rest()
        status = "error" if tool.error else "done"
        await self._sink.block({**block, "tool_input": tool.input, "tool_output": tool.output, "status": status})

    async def _rest(self) -> None:
        """As long as a few tokens take, so that a tool can be seen at work."""
        if self._pace:
            await trio.sleep(min(1.0, 12 / self._pace))


def _newest(messages: tuple[ModelMessage, ...]) -> Message:
    asked = [message for message in messages if message.role == "user"]
    return Message(_text_of(asked[-1].content) if asked else "", max(0, len(asked) - 1))


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
