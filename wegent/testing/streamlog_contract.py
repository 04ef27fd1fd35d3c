"""What every `StreamLog` must do, as tests: subclass `StreamLogContract` as `Test…`, and give it a fixture `log`.

    class TestMyLog(StreamLogContract):
        @pytest.fixture
        async def log(self): ...

A log that several workers share is to pass `SharedLogContract` too, with a fixture `shared`: a worker's log, its
fan-out, and the fan-out of another worker. The tests share a broker without harm. They are Trio's, for pytest-trio in
its Trio mode, on a real clock.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping

import pytest
import trio

from wegent.core.errors import OffsetMismatch, Sealed
from wegent.core.model import CONTENT, THINKING, Ending, EndingStatus, Entry, Snapshot, StreamId, Text, Value
from wegent.core.ports.fanout import Appended, Fanout, task_topic
from wegent.core.ports.streamlog import StreamLog
from wegent.core.replica import Replica
from wegent.testing.checkpoints import Cut, at_every_checkpoint
from wegent.testing.fanout_contract import until

PATIENCE_S = 10.0
KEEP_S = 60.0
DONE = Ending(EndingStatus.COMPLETED, result={"value": "a", "numbers": [1, 2.5]})
FAILED = Ending(EndingStatus.FAILED, error="it broke", error_type="model")
LARGE = 4_000_000
"""Code points of the longest stream there is."""
_MIXED = "aé漢\U0001f680"

_numbers = itertools.count(os.getpid() * 1_000)


def stream(attempt: int = 1) -> StreamId:
    """A stream that no other test has."""
    return StreamId(next(_numbers), 7, attempt)


def content(offset: int, delta: str) -> Text:
    """A delta of the content."""
    return Text(CONTENT, offset, delta)


def value(key: str, version: int, **data: object) -> Value:
    """A value."""
    return Value(key, version, "block", data)


async def text(log: StreamLog, of: StreamId, since: Mapping[str, int] | None = None) -> str:
    """The content as the log has it."""
    snapshot = await log.read(of, since)
    return "" if snapshot is None else snapshot.texts.get(CONTENT, "")


async def values(log: StreamLog, of: StreamId) -> list[Value]:
    """The values, by key."""
    snapshot = await log.read(of)
    return [] if snapshot is None else sorted(snapshot.values, key=lambda each: each.key)


async def posted(log: StreamLog, replica: Replica, delta: str) -> bool | None:
    """The answer to a text that was posted; None where the log does not take it."""
    answers: list[bool] = []
    answered = trio.Event()

    def done(good: bool) -> None:
        answers.append(good)
        answered.set()

    if not log.post_text(replica, CONTENT, delta, done):
        return None
    assert answers == [], "answered in the step in which it was posted"
    with trio.fail_after(10):
        await answered.wait()
    return answers[0]


class StreamLogContract:
    """Ordered, replayable, sealed at the end."""

    async def test_what_was_never_heard_of_is_none(self, log: StreamLog) -> None:
        assert await log.read(stream()) is None

    async def test_what_was_appended_is_read(self, log: StreamLog) -> None:
        mine, other = stream(), stream()
        await log.append(mine, [content(0, "Hé"), Text(THINKING, 0, "漢")])
        await log.append(mine, [content(2, "\U0001f680"), value("b", 1, tool="é", n=[1, None]), value("a", 3)])
        await log.append(other, [content(0, "other")])
        found = await log.read(mine)
        assert found is not None
        assert dict(found.texts) == {CONTENT: "Hé\U0001f680", THINKING: "漢"}
        assert dict(found.lengths) == {CONTENT: 3, THINKING: 1}
        assert await values(log, mine) == [value("a", 3), value("b", 1, tool="é", n=[1, None])]
        assert found.ending is None

    async def test_what_was_posted_is_there_and_nothing_else(self, log: StreamLog) -> None:
        mine = stream()
        replica = Replica(mine)
        await log.append(mine, [content(0, "a")])
        replica.append(CONTENT, "a")
        said = "a"
        for delta in ("é", "\U0001f680b"):
            answer = await posted(log, replica, delta)
            assert answer is not False
            if answer:
                replica.append(CONTENT, delta)
                said += delta
            assert await text(log, mine) == said

    async def test_what_does_not_fit_is_not_posted(self, log: StreamLog) -> None:
        mine, ended = stream(), stream()
        for each in (mine, ended):
            await log.append(each, [content(0, "abc")])
        await log.end(ended, DONE, keep=60)
        ahead = Replica(mine)
        ahead.append(CONTENT, "abcd")
        assert not await posted(log, ahead, "e")
        assert not await posted(log, Replica.of(ended, Snapshot({CONTENT: "abc"})), "d")
        assert [await text(log, each) for each in (mine, ended)] == ["abc", "abc"]

    async def test_attempts_are_streams_of_their_own(self, log: StreamLog) -> None:
        first = stream()
        second = first._replace(attempt=2)
        await log.append(first, [content(0, "one")])
        await log.append(second, [content(0, "two")])
        assert [await text(log, each) for each in (first, second)] == ["one", "two"]

    async def test_texts_of_one_channel_may_follow_each_other_in_one_append(self, log: StreamLog) -> None:
        mine = stream()
        await log.append(mine, [content(0, "a"), value("a", 1), content(1, "é"), content(2, "c")])
        assert await text(log, mine) == "aéc"

    @pytest.mark.parametrize("since", range(10))
    async def test_text_is_read_from_an_offset_in_code_points(self, log: StreamLog, since: int) -> None:
        mine = stream()
        await log.append(mine, [content(0, _MIXED * 2), Text(THINKING, 0, "ascii only")])
        found = await log.read(mine, {CONTENT: since, THINKING: since, "unknown": 3})
        assert found is not None
        assert dict(found.texts) == {CONTENT: (_MIXED * 2)[since:], THINKING: "ascii only"[since:]}
        assert dict(found.lengths) == {CONTENT: 8, THINKING: 10}

    @pytest.mark.parametrize("begin", range(5))
    @pytest.mark.parametrize("end", range(7))
    async def test_what_is_there_and_equal_is_skipped(self, log: StreamLog, begin: int, end: int) -> None:
        mine, whole = stream(), "aé漢d\U0001f680f"
        await log.append(mine, [content(0, whole[:2]), content(2, whole[2:4])])
        for _ in range(2):
            await log.append(mine, [content(begin, whole[begin:end])])
        assert await text(log, mine) == whole[: max(4, end)] if end > begin else whole[:4]

    @pytest.mark.parametrize(("offset", "delta"), [(5, "x"), (9, ""), (0, "x"), (0, "ae漢d"), (3, "xy"), (2, "漢x")])
    async def test_a_wrong_offset_is_told_the_true_length(self, log: StreamLog, offset: int, delta: str) -> None:
        mine = stream()
        await log.append(mine, [content(0, "aé漢d")])
        with pytest.raises(OffsetMismatch) as raised:
            await log.append(mine, [content(offset, delta)])
        assert (raised.value.offset, raised.value.channel) == (4, CONTENT)
        assert await text(log, mine) == "aé漢d"

    async def test_an_append_is_whole_or_not_at_all(self, log: StreamLog) -> None:
        mine = stream()
        await log.append(mine, [content(0, "a"), Text(THINKING, 0, "b"), value("a", 1)])
        wrongs: list[list[Entry]] = [
            [Text(THINKING, 5, "x")],
            [Text(THINKING, 0, "x")],
            [content(1, "x"), content(1, "y")],
        ]
        for wrong in wrongs:
            with pytest.raises(OffsetMismatch):
                await log.append(mine, [content(1, "more"), value("a", 2), *wrong])
        found = await log.read(mine)
        assert found is not None
        assert dict(found.texts) == {CONTENT: "a", THINKING: "b"}
        assert await values(log, mine) == [value("a", 1)]

    async def test_the_greatest_version_of_a_value_counts(self, log: StreamLog) -> None:
        mine = stream()
        for version in (1, 3, 2, 3, 2**53 - 1, 2**53 - 2):
            await log.append(mine, [value("a", version, said=version)])
        assert await values(log, mine) == [value("a", 2**53 - 1, said=2**53 - 1)]

    @pytest.mark.parametrize("strange", ["", " ", ":", "v\n1 2", "é\U0001f680", "a:content"])
    async def test_any_name_is_a_channel_a_key_and_a_kind(self, log: StreamLog, strange: str) -> None:
        mine = stream()
        said: list[Entry] = [Text(strange, 0, "a"), content(0, "b"), Value(strange, 1, strange, {strange: strange})]
        await log.append(mine, said)
        found = await log.read(mine)
        assert found is not None
        assert (dict(found.texts), list(found.values)) == ({strange: "a", CONTENT: "b"}, said[2:])

    @pytest.mark.parametrize("ending", [DONE, FAILED], ids=["completed", "failed"])
    async def test_a_stream_that_has_ended_takes_no_more(self, log: StreamLog, ending: Ending) -> None:
        mine = stream()
        await log.append(mine, [content(0, "a")])
        await log.end(mine, ending, keep=KEEP_S)
        refused: list[list[Entry]] = [[content(1, "b")], [content(0, "a")], [value("a", 1)], [content(7, "b")]]
        for entries in refused:
            with pytest.raises(Sealed):
                await log.append(mine, entries)
        with pytest.raises(Sealed):
            await log.restore(mine, Snapshot({CONTENT: "abc"}))
        found = await log.read(mine)
        assert found is not None
        assert (found.texts[CONTENT], found.ending) == ("a", ending)

    async def test_a_stream_may_end_that_never_said_anything(self, log: StreamLog) -> None:
        mine = stream()
        await log.end(mine, DONE, keep=KEEP_S)
        found = await log.read(mine)
        assert found is not None
        assert (dict(found.texts), found.ending) == ({}, DONE)

    async def test_a_stream_is_forgotten_after_its_time(self, log: StreamLog) -> None:
        mine, kept = stream(), stream()
        for each in (mine, kept):
            await log.append(each, [content(0, "a"), Text(THINKING, 0, "b"), value("a", 1)])
        await log.end(kept, DONE, keep=KEEP_S)
        await log.end(mine, DONE, keep=0.02)
        with trio.fail_after(PATIENCE_S):
            while await log.read(mine) is not None:  # noqa: ASYNC110 - nobody announces it
                await trio.sleep(0.005)
        await log.append(mine, [content(0, "new")])
        assert await text(log, mine) == "new"
        assert await text(log, kept) == "a"

    async def test_what_was_lost_is_written_back(self, log: StreamLog) -> None:
        mine = stream()
        everything = Snapshot(
            {CONTENT: _MIXED * 10, THINKING: "think"}, (value("a", 2, a=1), value("b", 1)), {CONTENT: 40, THINKING: 5}
        )
        await log.append(mine, [content(0, _MIXED), value("a", 1), value("b", 4, newer=True)])
        for _ in range(2):
            await log.restore(mine, everything)
        found = await log.read(mine)
        assert found is not None
        assert dict(found.texts) == dict(everything.texts)
        assert await values(log, mine) == [value("a", 2, a=1), value("b", 4, newer=True)]
        await log.append(mine, [content(40, "!")])

    async def test_longer_text_stays_when_less_is_written_back(self, log: StreamLog) -> None:
        mine = stream()
        await log.append(mine, [content(0, "longer")])
        await log.restore(mine, Snapshot({CONTENT: "long"}))
        assert await text(log, mine) == "longer"

    async def test_the_longest_stream_is_written_back_read_and_continued(self, log: StreamLog) -> None:
        mine, whole = stream(), _MIXED * (LARGE // 4)
        await log.restore(mine, Snapshot({CONTENT: whole}))
        await log.append(mine, [content(LARGE, "!")])
        assert await text(log, mine, {CONTENT: LARGE - 3}) == whole[-3:] + "!"
        assert await text(log, mine) == whole + "!"
        await log.append(mine, [content(LARGE - 2, whole[-2:] + "!?")])
        assert await text(log, mine, {CONTENT: LARGE}) == "!?"
        await log.end(mine, DONE, keep=0.01)

    async def test_streams_of_one_moment_do_not_mix(self, log: StreamLog) -> None:
        streams = [stream() for _ in range(50)]

        async def write(of: StreamId) -> None:
            for offset in range(20):
                await log.append(of, [content(offset, str(of.task_id % 10))])

        async with trio.open_nursery() as nursery:
            for each in streams:
                nursery.start_soon(write, each)
        assert [await text(log, each) for each in streams] == [str(each.task_id % 10) * 20 for each in streams]

    async def test_an_append_cancelled_anywhere_can_be_repeated(self, log: StreamLog) -> None:
        mine, said = stream(), ""

        async def attempt(cut: Cut) -> None:
            nonlocal said
            entry = content(len(said), _MIXED)
            with trio.CancelScope() as scope, cut.at(scope.cancel):
                await log.append(mine, [entry])
            await log.append(mine, [entry])
            said += _MIXED
            assert await text(log, mine) == said

        assert await at_every_checkpoint(attempt) >= 1


Shared = tuple[StreamLog, Fanout, Fanout]


class SharedLogContract:
    """What is appended is told to the task's topic, in its place among the messages."""

    async def test_appends_and_messages_share_a_topic_its_order_and_its_numbers(self, shared: Shared) -> None:
        log, one, two = shared
        mine = stream()
        topic = task_topic(mine.task_id)
        said: list[tuple[Text | Value, ...]] = [
            (content(0, "aé"), Text(THINKING, 0, "漢\n")),
            (content(2, "\U0001f680"), value("a", 1, data="é")),
            (value("b", 1),),
        ]
        async with two.subscribe() as subscription:
            await subscription.add(topic)
            one.publish(topic, b"start")
            for entries in said:
                await log.append(mine, entries)
                one.publish(topic, b"between")
            got = await until(subscription, lambda message: message.number == 7)
        bodies = [message.body for message in got]
        assert bodies == [b"start", *_with(b"between", [Appended(mine, entries) for entries in said])]
        assert [message.number for message in got] == list(range(1, 8))
        assert {message.sender for message in got} == {"one"}

    async def test_appends_of_one_moment_keep_the_order_of_their_numbers(self, shared: Shared) -> None:
        log, _, two = shared
        first = stream()
        streams = [first._replace(subtask_id=number) for number in range(100)]
        async with two.subscribe() as subscription:
            await subscription.add(task_topic(first.task_id))
            async with trio.open_nursery() as nursery:
                for each in streams:
                    nursery.start_soon(log.append, each, [content(0, "a")])
            got = await until(subscription, lambda message: message.number == 100)
        assert [message.number for message in got] == list(range(1, 101))
        assert {message.body for message in got} == {Appended(each, (content(0, "a"),)) for each in streams}

    async def test_what_is_refused_is_not_told(self, shared: Shared) -> None:
        log, one, two = shared
        mine = stream()
        topic = task_topic(mine.task_id)
        async with two.subscribe() as subscription:
            await subscription.add(topic)
            with pytest.raises(OffsetMismatch):
                await log.append(mine, [content(1, "a")])
            await log.end(mine, DONE, keep=KEEP_S)
            with pytest.raises(Sealed):
                await log.append(mine, [content(0, "a")])
            one.publish(topic, b"end")
            got = await until(subscription, lambda message: message.body == b"end")
        assert len(got) == 1

    async def test_what_is_written_back_is_told(self, shared: Shared) -> None:
        log, one, two = shared
        mine = stream()
        topic = task_topic(mine.task_id)
        await log.append(mine, [content(0, "a")])
        async with two.subscribe() as subscription:
            await subscription.add(topic)
            await log.restore(mine, Snapshot({CONTENT: "abc"}))
            one.publish(topic, b"end")
            got = await until(subscription, lambda message: message.body == b"end")
        assert [message.body for message in got] == [Appended(mine, (content(1, "bc"),)), b"end"]


def _with(between: object, items: Iterable[object]) -> list[object]:
    return [each for item in items for each in (item, between)]
