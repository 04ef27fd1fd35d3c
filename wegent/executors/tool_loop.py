"""An answer with tools: the model says which it wants used, they are used, and it goes on with what came out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import trio
from attrs import evolve, field, frozen
from attrs.validators import gt

from wegent.codec import CodecError, decode, encode
from wegent.core.errors import RunFailed, WegentError
from wegent.core.ports.executor import Sink
from wegent.core.text import bounded, clean
from wegent.executors.heard import HeardSink
from wegent.protocol.chat_shell import ModelMessage, ResponseRequest, ToolCall
from wegent.server.ports.engine import Completion, Engine
from wegent.server.ports.tool import Asked, Tool, ToolFailed

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class ToolLimits:
    """Limits of one answer.

    Attributes:
        rounds: how often the model may ask for tools; then it must answer.
        calls: uses of tools in all.
        at_once: uses side by side.
        timeout_s: seconds of one use.
        output: code points of one output; the rest is cut.
    """

    rounds: int = field(default=10, validator=gt(0))
    calls: int = field(default=50, validator=gt(0))
    at_once: int = field(default=4, validator=gt(0))
    timeout_s: float = field(default=60.0, validator=gt(0))
    output: int = field(default=20_000, validator=gt(0))


class ToolLoop:
    """Gives one answer."""

    def __init__(self, engine: Engine, tools: Mapping[str, Tool], asked: Asked, limits: ToolLimits, sink: Sink) -> None:
        self._engine = engine
        self._tools = tools
        self._asked = asked
        self._limits = limits
        self._sink = sink
        self._slots = trio.CapacityLimiter(limits.at_once)
        self._calls = 0

    async def run(self, request: ResponseRequest) -> Completion:
        """Answer; `usage` of the completion is that of all rounds.

        Raises:
            RunFailed: as `Engine.run`; or the model goes on asking for tools when it may no more.
        """
        request = evolve(request, tools=tuple(tool.definition for tool in self._tools.values()))
        usage: dict[str, Any] = {}
        for turn_number in range(self._limits.rounds + 2):  # one in which it hears that it may no more, one to answer
            heard = HeardSink(self._sink)
            completion = await self._engine.run(request, heard)
            usage = _added(usage, completion.usage)
            if not completion.tool_calls:
                return evolve(completion, usage=usage)
            outputs = await self._use_all(completion.tool_calls, may=turn_number < self._limits.rounds)
            turn = ModelMessage(
                role="assistant",
                content=heard.said,
                tool_calls=completion.tool_calls,
                carried=completion.carried,
            )
            request = evolve(request, messages=(*request.messages, turn, *outputs))
        raise RunFailed(f"The model used tools {self._limits.rounds} times and came to no answer.", type="model")

    async def _use_all(self, calls: Sequence[ToolCall], *, may: bool) -> list[ModelMessage]:
        """Use the tools side by side; the outputs in the order of the calls."""
        uses = []
        for call in calls:
            self._calls += 1
            uses.append(_Use(self, call, f"call-{self._calls}", may=may and self._calls <= self._limits.calls))
            await uses[-1].announce()
        async with trio.open_nursery() as nursery:
            for use in uses:
                nursery.start_soon(use.run)
        if failures := [use.failure for use in uses if use.failure is not None]:
            raise failures[0]
        return [use.message() for use in uses]


class _Use:
    """One use of a tool, and the block that shows it. `failure`: what the sink raised."""

    def __init__(self, loop: ToolLoop, call: ToolCall, block_id: str, *, may: bool) -> None:
        self._loop = loop
        self._call = call
        self._may = may
        self._most = loop._limits.output
        self._block = {"id": block_id, "type": "tool", "tool_name": call.name}
        self._output = ""
        self._failed = False
        self.failure: WegentError | None = None

    async def announce(self) -> None:
        """Show that it is wanted."""
        told = _arguments(self._call) or self._call.arguments
        await self._show("pending", tool_input=_shown(told, self._most))

    async def run(self) -> None:
        """Use it. Raises nothing but Cancelled."""
        async with self._loop._slots:
            try:
                await self._show("streaming")
                output = await self._outcome()
                self._output = _text(output, self._most)
                shown = self._output if isinstance(output, str) else _shown(output, self._most)
                await self._show("error" if self._failed else "done", tool_output=shown)
            except WegentError as error:
                self.failure = error

    def message(self) -> ModelMessage:
        """What the model is told of it."""
        return ModelMessage(role="tool", content=self._output, tool_call_id=self._call.id, failed=self._failed or None)

    async def _outcome(self) -> Any:
        try:
            with trio.move_on_after(self._loop._limits.timeout_s):
                return await self._use()
            reason = f"The tool took longer than {self._loop._limits.timeout_s:g} seconds, and was stopped."
        except WegentError as error:
            reason = error.sentence
        except Exception:
            _log.exception("the tool %s failed", self._call.name)
            reason = "The tool failed; the server's log says how."
        self._failed = True
        return reason

    async def _use(self) -> Any:
        await trio.lowlevel.checkpoint()
        if not self._may:
            raise ToolFailed("No more tools may be used for this answer. Answer with what you have.")
        tool = self._loop._tools.get(self._call.name)
        if tool is None:
            raise ToolFailed(f"There is no tool of this name. There are: {', '.join(self._loop._tools)}.")
        arguments = _arguments(self._call)
        if arguments is None:
            raise ToolFailed("The arguments should be a JSON object, and are not.")
        return await tool.use(arguments, self._loop._asked, self._report)

    async def _report(self, output: Any) -> None:
        await self._show("streaming", tool_output=_shown(output, self._most))

    async def _show(self, status: str, **changed: Any) -> None:
        await self._loop._sink.block({**self._block, **changed, "status": status})


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    try:
        told = decode(call.arguments.strip() or "{}")
    except CodecError:
        return None
    return told if isinstance(told, dict) else None


def _text(output: Any, most: int) -> str:
    """An output as a model reads it."""
    text = clean(output) if isinstance(output, str) else encode(bounded(output)).decode()
    return text if len(text) <= most else f"{text[:most]}… (cut: {len(text) - most:,} more characters)"


def _shown(value: Any, most: int) -> Any:
    """A value as viewers see it: as it is, or cut as text where it is long."""
    return bounded(value) if len(text := _text(value, most)) <= most else text


def _added(usage: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers are added, also inner ones; of all else the newest counts."""
    added = {**usage, **more}
    for name in usage.keys() & more.keys():
        before, now = usage[name], more[name]
        if isinstance(before, int | float) and isinstance(now, int | float):
            added[name] = before + now
        elif isinstance(before, Mapping) and isinstance(now, Mapping):
            added[name] = _added(before, now)
    return added
