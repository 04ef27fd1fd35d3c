"""What a run says on another machine, kept until the server is known to have it (protocol §7.1, §8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, evolve, frozen

from wegent import codec
from wegent.core.errors import RunFailed
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus, Value
from wegent.core.ports.executor import Sink
from wegent.core.said import MOST_SKILLS
from wegent.core.text import SurrogateJoiner, TextBuffer, bounded, clean
from wegent.core.values import NAME_LIMIT, PIECE, Values, output_limit
from wegent.protocol.limits import MAX_STREAM, SKILL_TIMEOUT_S
from wegent.protocol.runner import (
    RunnerApp,
    RunnerBlock,
    RunnerChunk,
    RunnerMessage,
    RunnerProgress,
    RunnerSkill,
    RunnerThinking,
)

if TYPE_CHECKING:
    from wegent.core.clock import Clock

UNSENT = 262_144
"""Code points that the server may lack before the agent has to wait."""
MOST_UNSENT = 1_024
"""Values likewise."""
VALUES_SIZE = 400_000
"""Bytes of the values and questions of one report, so that it fits a payload with the text beside them."""
ENDING_SIZE = 900_000
"""Bytes of an ending's result; one of more than `BESIDE` has a report of its own."""
BESIDE = 100_000
CUT = 30_000
"""Code points that are kept of a tool's input or output which alone would be too much for a report."""
ASK_AGAIN_S = 5.0
"""Seconds after which a question is asked again: a server that was killed in between does not know of it."""
PATIENCE_S = 2.0 * SKILL_TIMEOUT_S
"""Seconds for an answer. The server gives up earlier and says so, if it is there."""
_CHANNELS = {CONTENT: RunnerChunk, THINKING: RunnerThinking}


@frozen
class Report:
    """What the server lacks, as far as fits one payload. Made anew for each attempt at sending, never kept.

    `ends` are the lengths of the channels, `versions` the values, that the server has once it has this. With `ending`
    nothing is left to be said.
    """

    events: tuple[RunnerMessage, ...]
    ends: Mapping[str, int]
    versions: Mapping[str, int]
    ending: Ending | None = None


@frozen
class _Said:
    """A value as it is told; `place` is the content's length then: the server must have so much text before it."""

    event: RunnerMessage
    size: int
    version: int
    place: int


@define(eq=False)
class _Question:
    event: RunnerSkill
    place: int
    size: int
    asked: float = float("-inf")
    answer: tuple[bool, Any] | None = None


class Reporter(Sink):
    """A sink that keeps all that a run says until `delivered` has been called with the ending.

    Beside the sink's own calls everything is plain. One report is under way at a time: `report` makes the next from
    what the server is known to have, and `delivered`, `resume` or `again` says what became of it. Each names the length
    that the server's text must have by then, so that one which lost some says so, and never ends short.
    """

    __slots__ = (
        "_count", "_done", "_ending_size", "_failure", "_has", "_joiners", "_left", "_news", "_questions", "_received",
        "_room", "_said", "_texts", "_unsaid", "_values", "ending",
    )  # fmt: skip

    def __init__(self, clock: Clock, *, max_stream: int = MAX_STREAM) -> None:
        self.ending: Ending | None = None
        self._texts = {channel: TextBuffer() for channel in _CHANNELS}
        self._has = dict.fromkeys(_CHANNELS, 0)
        self._joiners = {channel: SurrogateJoiner() for channel in _CHANNELS}
        self._left = max_stream
        self._values = Values(clock, {})
        self._said: dict[str, _Said] = {}
        self._unsaid: dict[str, None] = {}
        self._questions: dict[str, _Question] = {}
        self._received: dict[str, None] = {}
        self._count = 0
        self._ending_size = 0
        self._failure: RunFailed | None = None
        self._done = False
        self._news = trio.Event()
        self._room = trio.lowlevel.ParkingLot()

    # what the agent says

    async def text(self, delta: str) -> None:
        """Append to the `content` channel; see the port."""
        self._append(CONTENT, self._joiners[CONTENT].feed(delta))
        await self._wait_for_room()

    async def thinking(self, delta: str) -> None:
        """Append to the `thinking` channel; see the port."""
        self._append(THINKING, self._joiners[THINKING].feed(delta))
        await self._wait_for_room()

    async def block(self, block: Mapping[str, Any]) -> None:
        """Set a block; see the port."""
        await self._set(self._values.block(block, len(self._texts[CONTENT])))

    async def progress(self, progress: int, message: str | None = None) -> None:
        """Tell how far the work is, 0 to 100."""
        await self._set(self._values.progress(progress, message))

    async def app(self, app: Mapping[str, Any]) -> None:
        """Tell of a running app's preview."""
        await self._set(self._values.app(app))

    async def skill(self, skill_name: str, action: str, data: Mapping[str, Any]) -> Any:
        """Ask the viewers of the task, by the server; see the port."""
        question = self._ask(clean(skill_name)[:NAME_LIMIT], clean(action)[:NAME_LIMIT], bounded(data))
        try:
            with trio.move_on_after(PATIENCE_S):
                while question.answer is None:
                    await self._room.park()
        finally:
            self._questions.pop(question.event.id, None)
        success, result = question.answer or (False, "nobody answered in time")
        if not success:
            raise RunFailed(str(result or "the skill failed"))
        return result

    def length(self, channel: str = CONTENT) -> int:
        """How many code points the run has said."""
        return len(self._texts[channel])

    def value(self, key: str) -> Mapping[str, Any]:
        """The newest value of that key; empty if there is none."""
        found = self._values.newest.get(key)
        return {} if found is None else found.data

    def end(self, ending: Ending) -> None:
        """Nothing more will be said. Whoever still waits to say something goes on, and is not heard.

        A run that said more than is kept has failed, whatever it makes of that. All values are said once more: a server
        that was killed and started between two reports had saved the older ones only, and nobody could tell. The first
        ending counts.
        """
        if self.ending is not None:
            return
        for channel, joiner in self._joiners.items():
            self._append(channel, joiner.finish())
        ending = evolve(ending, result=bounded(ending.result))
        self._ending_size = len(codec.encode(ending.result))
        if self._ending_size > ENDING_SIZE:
            self._failure = RunFailed(f"the run's result is longer than {ENDING_SIZE:,} bytes", type="output_limit")
        if self._failure is not None and ending.status is EndingStatus.COMPLETED:
            ending = Ending(EndingStatus.FAILED, self._failure.sentence, self._failure.type)
        self.ending = ending
        self._questions.clear()
        self.again()
        self._room.unpark_all()

    def fail(self, error: RunFailed) -> None:
        """End as FAILED, and say no value any more: the server refuses something of what is here."""
        self._said.clear()
        self.end(Ending(EndingStatus.FAILED, error.sentence, error.type))

    # what becomes of it

    @property
    def done(self) -> bool:
        """Whether the server has the ending."""
        return self._done

    @property
    def unsent(self) -> int:
        """Code points that the server is not known to have."""
        return sum(len(text) - self._has[channel] for channel, text in self._texts.items())

    async def news(self) -> None:
        """Wait until there is something to report."""
        while not self._has_news():
            await self._news.wait()
        await trio.lowlevel.checkpoint()

    def report(self) -> Report:
        """What to report next; without news that is where the server's text must end, and nothing else."""
        events, ends = self._text_events()
        found, versions = self._value_events(ends[CONTENT])
        events += found
        complete = self.ending is not None and not self._lacks(ends) and len(versions) == len(self._unsaid)
        if complete and self._ending_size > BESIDE and (self.unsent or versions):
            complete = False
        return Report(tuple(events), ends, versions, self.ending if complete else None)

    def delivered(self, report: Report, offset: int | None = None) -> None:
        """The server has it; `offset` is the length of its content now.

        Raises:
            RunFailed: its content is longer than what the run has said.
        """
        self._has.update(report.ends)
        for key, version in report.versions.items():
            if key in self._unsaid and self._said[key].version == version:
                del self._unsaid[key]
        if offset is not None and offset != report.ends[CONTENT]:
            self.resume(CONTENT, offset)
        elif report.ending is not None:
            self._done = True
        self._room.unpark_all()

    def resume(self, channel: str, offset: int) -> None:
        """The channel ends at `offset` on the server: go on from there, values included.

        Raises:
            RunFailed: that is more than the run has said; what the server has is not its text.
        """
        if channel not in self._texts or offset > len(self._texts[channel]):
            message = f"the server has {offset} code points of {channel}, more than this run has said"
            raise RunFailed(message, type="protocol")
        self._has[channel] = offset
        self.again()

    def again(self) -> None:
        """What was said last may not have come through, or may be lost: say values and questions again."""
        self._unsaid = dict.fromkeys(self._said)
        for question in self._questions.values():
            question.asked = float("-inf")
        self._wake()

    def answer(self, question_id: str, success: bool, result: Any) -> None:
        """What came of a question: its result, or why there is none; nothing for one that nobody asks any more."""
        self._received[question_id] = None
        if (question := self._questions.get(question_id)) is not None and question.answer is None:
            question.answer = (success, result)
            self._room.unpark_all()

    def received(self) -> tuple[str, ...]:
        """Ids of the answers that came since the last time this was asked."""
        ids, self._received = tuple(self._received), {}
        return ids

    def _append(self, channel: str, delta: str) -> None:
        if self.ending is not None or not delta:
            return
        if len(delta) > self._left:
            self._failure = output_limit()
            delta = delta[: self._left]
        self._left -= len(delta)
        if delta:
            self._texts[channel].append(delta)
            self._wake()

    async def _set(self, value: Value) -> None:
        if not self._values.add(value):
            self._failure = output_limit()
        elif self.ending is None:
            said = _said(value, len(self._texts[CONTENT]))
            for each in (self._said, self._unsaid):  # both in the order of what was said last
                each.pop(value.key, None)
            self._said[value.key], self._unsaid[value.key] = said, None
            self._wake()
        await self._wait_for_room()

    def _ask(self, skill_name: str, action: str, data: Any) -> _Question:
        if len(self._questions) >= MOST_SKILLS:
            message = f"at most {MOST_SKILLS} skill requests of a run wait for their answers"
            raise RunFailed(message, type="protocol")
        self._count += 1
        event = RunnerSkill(id=str(self._count), skill_name=skill_name, action=action, data=data)
        size = len(codec.encode(event))
        if size > VALUES_SIZE:
            message = f"a skill request has at most {VALUES_SIZE:,} bytes, this one {size:,}"
            raise RunFailed(message, type="protocol")
        question = self._questions[event.id] = _Question(event, len(self._texts[CONTENT]), size)
        self._wake()
        return question

    async def _wait_for_room(self) -> None:
        if self._failure is not None:
            raise self._failure
        await trio.lowlevel.checkpoint()
        while self.ending is None and (self.unsent > UNSENT or len(self._unsaid) > MOST_UNSENT):
            await self._room.park()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def _has_news(self) -> bool:
        unasked = any(question.asked == float("-inf") for question in self._questions.values())
        return bool(self.unsent or self._unsaid or unasked or self.ending is not None)

    def _lacks(self, ends: Mapping[str, int]) -> bool:
        return any(end < len(self._texts[channel]) for channel, end in ends.items())

    def _text_events(self) -> tuple[list[RunnerMessage], dict[str, int]]:
        events: list[RunnerMessage] = []
        ends: dict[str, int] = {}
        left = PIECE
        for channel, text in self._texts.items():
            has = self._has[channel]
            ends[channel] = min(len(text), has + left)
            left -= ends[channel] - has
            if len(text):
                events.append(_CHANNELS[channel](content=text.slice(has, ends[channel]), offset=has))
        return events, ends

    def _value_events(self, content: int) -> tuple[list[RunnerMessage], dict[str, int]]:
        """Values and questions that may follow so much content."""
        events: list[RunnerMessage] = []
        versions: dict[str, int] = {}
        left = VALUES_SIZE
        for key in self._unsaid:
            said = self._said[key]
            if said.place > content or said.size > left:
                break
            left -= said.size
            versions[key] = said.version
            events.append(said.event)
        for question in self._due(content):
            if question.size <= left:
                left -= question.size
                question.asked = trio.current_time()
                events.append(question.event)
        return events, versions

    def _due(self, content: int) -> Iterator[_Question]:
        now = trio.current_time()
        for question in self._questions.values():
            if question.answer is None and question.place <= content and now - question.asked >= ASK_AGAIN_S:
                yield question


def _said(value: Value, place: int) -> _Said:
    """The value as a message.

    Raises:
        RunFailed: it is too large for one.
    """
    data = dict(value.data)
    if value.kind == "progress":
        event: RunnerMessage = RunnerProgress(progress=data["progress"], message=data.get("message"))
    elif value.kind == "app":
        event = RunnerApp(**data)
    else:
        del data["type"]
        event = _fitting(RunnerBlock(**{**data, "timestamp": datetime.fromisoformat(data["timestamp"])}))
    size = len(codec.encode(event))
    if size > VALUES_SIZE:
        message = f"a report has room for {VALUES_SIZE:,} bytes of {value.kind}, this has {size:,}"
        raise RunFailed(message, type="protocol")
    return _Said(event, size, value.version, place)


def _fitting(block: RunnerBlock) -> RunnerBlock:
    """The block, its input and output cut where it would be too much for one report."""
    if len(codec.encode(block)) <= VALUES_SIZE:
        return block
    return evolve(block, tool_input=_cut(block.tool_input), tool_output=_cut(block.tool_output))


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else codec.encode(value).decode()
    return value if len(text) <= CUT else f"{text[:CUT]}…"
