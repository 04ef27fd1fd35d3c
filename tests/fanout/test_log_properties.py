"""Logs against a model that is plain Python: random appends, repeats, overlaps, losses, endings, any Unicode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fanout.redis_server import RedisServer, link_to
from wegent.core.errors import OffsetMismatch, Sealed
from wegent.core.instruments import Registry
from wegent.core.model import Entry, Snapshot, StreamId, Text, Value
from wegent.core.ports.streamlog import StreamLog
from wegent.core.timers import Timers
from wegent.fanout.memory import MemoryStreamLog
from wegent.fanout.redis.fanout import RedisFanout
from wegent.fanout.redis.link import open_link
from wegent.fanout.redis.log import RedisStreamLog
from wegent.testing.streamlog_contract import DONE, stream

ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NARROW = st.text("aé漢\U0001f680", max_size=8)
CHANNELS = st.sampled_from(["content", "thinking", "é:"])


@frozen
class Said:
    """A text that begins so far from its channel's end; `true` ones say what is there already."""

    channel: str
    back: int
    delta: str
    true: bool

    def entry(self, model: Model) -> Text:
        text = model.texts.get(self.channel, "")
        offset = max(0, len(text) - self.back)
        return Text(self.channel, offset, text[offset:] + self.delta if self.true else self.delta)


SAID = st.builds(Said, CHANNELS, st.integers(-1, 12), st.one_of(ANY, NARROW), st.booleans())
NEXT = st.builds(Said, CHANNELS, st.just(0), ANY, st.just(False))
VALUE = st.builds(Value, st.sampled_from(["a", "b é"]), st.integers(0, 4), ANY, st.dictionaries(ANY, ANY, max_size=2))
APPEND = st.lists(st.one_of(NEXT, NEXT, SAID, VALUE), min_size=1, max_size=4)
REPEAT, END, RESTORE = "repeat", "end", "restore"
STEPS = st.lists(
    st.one_of(APPEND, APPEND, APPEND, st.just(REPEAT), st.just(RESTORE), st.integers(0, 20)), min_size=1, max_size=12
)


@frozen
class Model:
    """What a log should be."""

    texts: dict[str, str] = field(factory=dict)
    values: dict[str, Value] = field(factory=dict)

    def after(self, entries: list[Entry]) -> Model:
        """With these entries, all or none."""
        texts, values = dict(self.texts), dict(self.values)
        for entry in entries:
            if isinstance(entry, Value):
                if entry.key not in values or values[entry.key].version < entry.version:
                    values[entry.key] = entry
                continue
            text = texts.get(entry.channel, "")
            there = text[entry.offset : entry.offset + len(entry.delta)]
            if entry.offset > len(text) or not entry.delta.startswith(there):
                raise OffsetMismatch("no", offset=len(text), channel=entry.channel)
            texts[entry.channel] = text + entry.delta[len(there) :]
        return Model(texts, values)


async def outcome(call: Callable[[], object]) -> tuple[str, int] | None:
    try:
        result = call()
        if hasattr(result, "__await__"):
            await result
    except OffsetMismatch as error:
        return error.channel, error.offset
    return None


async def play(opening: AbstractAsyncContextManager[StreamLog], steps: list[object], ends: bool) -> None:
    mine = stream()
    model, latest = Model(), list[Entry]()
    async with opening as log:
        for step in steps:
            if isinstance(step, list):
                latest = []
                for each in step:
                    latest.append(each.entry(model) if isinstance(each, Said) else each)
                model = await same(log, mine, model, latest)
            elif step == REPEAT and latest:
                model = await same(log, mine, model, latest)
            elif step == RESTORE:
                await log.restore(mine, Snapshot(model.texts, tuple(model.values.values())))
            elif isinstance(step, int):
                await check(log, mine, model, dict.fromkeys(model.texts, step))
        if ends:
            await log.end(mine, DONE, keep=60)
            with pytest.raises(Sealed):
                await log.append(mine, latest or [Text("content", 0, "")])
        await check(log, mine, model, {})


async def same(log: StreamLog, mine: StreamId, model: Model, entries: list[Entry]) -> Model:
    """Log and model say the same of an append."""
    expected = await outcome(lambda: model.after(entries))
    assert await outcome(lambda: log.append(mine, entries)) == expected
    return model if expected else model.after(entries)


async def check(log: StreamLog, mine: StreamId, model: Model, since: dict[str, int]) -> None:
    """Log and model hold the same."""
    found = await log.read(mine, since) or Snapshot({})
    assert dict(found.texts) == {channel: text[since.get(channel, 0) :] for channel, text in model.texts.items()}
    assert dict(found.lengths) == {channel: len(text) for channel, text in model.texts.items()}
    assert {value.key: value for value in found.values} == model.values


@asynccontextmanager
async def redis_log(server: RedisServer) -> AsyncIterator[StreamLog]:
    async with open_link(link_to(server)) as link:
        fanout = RedisFanout(link, sender="one", prefix="wegent:", registry=Registry())
        yield RedisStreamLog(link, fanout, ttl=60)


@asynccontextmanager
async def memory_log() -> AsyncIterator[StreamLog]:
    yield MemoryStreamLog(Timers())


@settings(deadline=None)
@given(STEPS, st.booleans())
def test_memory_does_as_the_model(steps: list[object], ends: bool) -> None:
    trio.run(play, memory_log(), steps, ends)


@settings(deadline=None, max_examples=150)
@given(steps=STEPS, ends=st.booleans())
def test_redis_does_as_the_model(shared_redis: RedisServer, steps: list[object], ends: bool) -> None:
    trio.run(play, redis_log(shared_redis), steps, ends)
