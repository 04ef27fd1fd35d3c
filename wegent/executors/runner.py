"""The server's side of the runner protocol: lines of JSON to and from what runs in a process or a container (§7.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import trio

from wegent.codec import CodecError, convert, decode_loose, encode
from wegent.core.errors import InvalidPayload, RunFailed, WegentError
from wegent.core.model import CONTENT, THINKING, Outcome
from wegent.core.ports.executor import Sink
from wegent.core.said import MOST_SKILLS
from wegent.core.text import SurrogateJoiner, bounded, clean
from wegent.executors.lines import LineReader, LineTooLong
from wegent.protocol.jobs import Job
from wegent.protocol.runner import (
    ReportedResult,
    RunnerApp,
    RunnerBlock,
    RunnerCancel,
    RunnerChunk,
    RunnerCommand,
    RunnerDone,
    RunnerError,
    RunnerMessage,
    RunnerProgress,
    RunnerSkill,
    RunnerSkillAnswer,
    RunnerStart,
    RunnerThinking,
)
from wegent.protocol.status import ErrorType

READ = 65_536
"""Bytes of one read at most; the text in it goes to the sink in one piece."""


class Conversation:
    """What the server and one runner say to each other over two byte streams, from `start` to the ending.

    The streams stay open; whoever opened them closes them.
    """

    __slots__ = ("_asked", "_delta", "_job", "_receive", "_said", "_send", "_sending", "_sink", "_started")

    def __init__(self, receive: trio.abc.ReceiveStream, send: trio.abc.SendStream, job: Job, sink: Sink) -> None:
        self._receive = receive
        self._send = send
        self._job = job
        self._sink = sink
        self._sending = trio.Lock()
        self._started = trio.Event()
        self._said = {CONTENT: _Said(), THINKING: _Said()}
        self._delta: tuple[str, list[str]] = (CONTENT, [])
        self._asked: set[str] = set()

    async def run(self) -> Outcome | None:
        """Send `start`, pass on what the runner says until it says `done`; None if it ends without `done` or `error`.

        Nothing is read while the sink has no room. What comes after the ending is not read.

        Raises:
            RunFailed: the runner said `error`, or what the protocol does not know (type `protocol`).
        """
        outcome, failure = None, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._start)
            try:
                outcome = await self._listen(nursery)
            except WegentError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if isinstance(failure, InvalidPayload):
            raise RunFailed(f"The runner said what can't be kept: {failure.sentence}.", type="protocol") from failure
        if failure is not None:
            raise failure
        return outcome

    async def cancel(self) -> None:
        """Ask the runner to stop, once it has its job; `run` goes on and hears its last words. Never fails."""
        await self._started.wait()
        await self._tell(RunnerCancel())

    async def _start(self) -> None:
        try:
            await self._tell(RunnerStart(job=self._job))
        finally:
            self._started.set()

    async def _listen(self, nursery: trio.Nursery) -> Outcome | None:
        reader = LineReader()
        while data := await self._receive.receive_some(READ):
            try:
                for line in reader.feed(data):
                    if (outcome := await self._hear(line, nursery)) is not None:
                        return outcome
            except LineTooLong as error:
                await self._pass_on()
                message = f"The runner sent a line that is too long: {error}."
                raise RunFailed(message, type="protocol") from None
            await self._pass_on()
        outcome = await self._hear(reader.finish(), nursery)
        await self._pass_on()
        return outcome

    async def _hear(self, line: bytes, nursery: trio.Nursery) -> Outcome | None:
        """Take one line; an outcome if it was `done`."""
        if not line.strip():
            return None
        try:
            message = _message(line)
            if isinstance(message, RunnerChunk):
                await self._text(CONTENT, message.content, message.offset)
                return None
            if isinstance(message, RunnerThinking):
                await self._text(THINKING, message.content, message.offset)
                return None
        except RunFailed:
            await self._pass_on()
            raise
        await self._pass_on()
        if isinstance(message, RunnerDone):
            return await self._done(message.result or ReportedResult())
        if isinstance(message, RunnerError):
            raise _error(message)
        await self._value(message, nursery)
        return None

    async def _text(self, channel: str, delta: str, offset: int | None) -> None:
        if self._delta[0] != channel:
            await self._pass_on()
            self._delta = (channel, [])
        said = self._said[channel]
        if offset is not None and offset != said.length:
            message = f"The runner sent text at offset {offset}, after it had said {said.length} characters."
            raise RunFailed(message, type="protocol")
        said.add(delta)
        self._delta[1].append(delta)

    async def _pass_on(self) -> None:
        """Hand the text that waits to the sink, in one piece."""
        channel, deltas = self._delta
        if deltas:
            self._delta = (channel, [])
            await (self._sink.text if channel == CONTENT else self._sink.thinking)("".join(deltas))

    async def _value(self, message: RunnerMessage, nursery: trio.Nursery) -> None:
        if isinstance(message, RunnerBlock):
            await self._sink.block(message.fields())
        elif isinstance(message, RunnerProgress):
            await self._sink.progress(message.progress, message.message)
        elif isinstance(message, RunnerApp):
            app = {"name": message.name, "address": message.address, "previewUrl": message.previewUrl}
            await self._sink.app(app)
        elif isinstance(message, RunnerSkill):
            self._ask(message, nursery)

    async def _done(self, result: ReportedResult) -> Outcome:
        for channel, whole in ((CONTENT, result.value), (THINKING, result.thinking)):
            if whole is not None and (rest := self._said[channel].rest_of(whole)):
                await (self._sink.text if channel == CONTENT else self._sink.thinking)(rest)
        for block in result.blocks or ():
            await self._sink.block(block)
        if result.app is not None:
            await self._sink.app(result.app)
        return Outcome({} if result.workbench is None else {"workbench": result.workbench})

    def _ask(self, question: RunnerSkill, nursery: trio.Nursery) -> None:
        if question.id in self._asked:
            raise RunFailed("The runner used the id of a skill request again.", type="protocol")
        if len(self._asked) >= MOST_SKILLS:
            message = f"The runner asked for more than {MOST_SKILLS} skills at once."
            raise RunFailed(message, type="protocol")
        data = {} if question.data is None else question.data
        if not isinstance(data, Mapping):
            raise RunFailed("The runner's skill request is wrong: `data` is an object.", type="protocol")
        self._asked.add(question.id)
        nursery.start_soon(self._answer, question, bounded(data))

    async def _answer(self, question: RunnerSkill, data: Mapping[str, Any]) -> None:
        try:
            result = await self._sink.skill(clean(question.skill_name), clean(question.action), data)
            answer = RunnerSkillAnswer(id=question.id, success=True, result=result)
        except WegentError as error:
            answer = RunnerSkillAnswer(id=question.id, success=False, error=error.sentence)
        self._asked.discard(question.id)
        await self._tell(answer)

    async def _tell(self, command: RunnerCommand) -> None:
        """Send a line, whole, after those before it; to a runner that has gone it is nothing."""
        line = encode(command) + b"\n"
        async with self._sending:
            try:
                await self._send.send_all(line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


class _Said:
    """How much of a channel's text the runner has said, and what, as far as comparing it needs."""

    __slots__ = ("_hash", "_joiner", "length")

    def __init__(self) -> None:
        self.length = 0
        self._joiner = SurrogateJoiner()
        self._hash = hashlib.blake2b()

    def add(self, delta: str) -> None:
        """Count it as the log will."""
        self._count(self._joiner.feed(delta))

    def rest_of(self, whole: str) -> str:
        """What `whole` has beyond what was said.

        Raises:
            RunFailed: it begins otherwise.
        """
        self._count(self._joiner.finish())
        whole = clean(whole)
        begin = hashlib.blake2b(whole[: self.length].encode())
        if begin.digest() != self._hash.digest():
            raise RunFailed("The runner's result does not begin with the text that it had sent.", type="protocol")
        return whole[self.length :]

    def _count(self, text: str) -> None:
        self.length += len(text)
        self._hash.update(text.encode())


def _message(line: bytes) -> RunnerMessage:
    try:
        return convert(decode_loose(line if line.isascii() else line.decode(errors="replace")), RunnerMessage)
    except CodecError as error:
        raise RunFailed(f"The runner sent a line that is no message: {error.sentence}.", type="protocol") from error


def _error(message: RunnerError) -> RunFailed:
    kind = ErrorType.named(message.error_type).value
    return RunFailed(clean(message.message).strip() or "The agent failed and did not say why.", type=kind)
